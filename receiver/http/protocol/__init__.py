"""HTTP/1.1 on a connection: read in one way only, answered once, with an end to every wait."""
