"""Sending mail: a message, its bytes, and the server that accepts it."""
