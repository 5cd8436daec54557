"""The server, and HTTP/1.1 on its connections: read in one way only, answered once, with an end to every wait."""
