"""Engines: where promises live. The embedded one, a Resonate server, or a Postgres database, connected by URL."""

from orchestrator.engine.client import Engine
from orchestrator.engine.connecting import connect

__all__ = ["Engine", "connect"]
