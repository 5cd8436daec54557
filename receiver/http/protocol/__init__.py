"""The server, and HTTP/1.1 on its connections: one reading of each request, one response to it, no endless wait."""
