"""Signatures over request bodies, which prove who sent a request. One family of schemes per file."""
