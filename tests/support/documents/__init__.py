"""Reads the documents and follows their instructions."""
