"""Engines that run in a process of their own: a Postgres database and a Resonate server."""
