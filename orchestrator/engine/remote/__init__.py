"""Engines in processes of their own: a Postgres database and a Resonate server."""
