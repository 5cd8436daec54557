"""Signatures over request bodies: who really sent it, besides who holds the link. One scheme family per file."""
