"""Sending mail: a message, its bytes, the server that takes it."""
