"""Engines, where promises are stored: the embedded engine, a Resonate server or a Postgres database, chosen by URL."""

from orchestrator.engine.client import Engine
from orchestrator.engine.connecting import connect

__all__ = ["Engine", "connect"]
