"""Reads the documents, and does what they say to do."""
