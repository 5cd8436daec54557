"""Engines that forget finished workflows, each in its own way: by retention, by `resonate.gc`, by lost data."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
from support.engines import resonate_server
from support.plant import PATIENCE, pause

from orchestrator.engine import connecting
from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

    from orchestrator.engine import Engine


@dataclass(frozen=True)
class Forgetful:
    """An engine's URL, and a way to make it forget finished workflows; with `everything`, unfinished ones too."""

    url: str
    _forget: Callable[[], None]
    everything: bool = False

    async def forget(self, engine: Engine, root_id: str) -> None:
        """Return once the engine has forgotten this workflow, which is over or soon will be."""
        for _ in range(int(PATIENCE * 20)):
            self._forget()

            try:
                await engine.promises.get(root_id)
            except UnknownPromise:
                return

            await pause(0.05)

        raise TimeoutError(root_id)


@contextlib.contextmanager
def forgetful(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Forgetful]:
    """Yield a new engine of this kind."""
    match kind:
        case "memory" | "sqlite":
            # Transient workflows are kept for an hour as usual, so they outlive the workflows that they serve.
            brief = functools.partial(EmbeddedConnection, retention=timedelta(milliseconds=1))
            request.getfixturevalue("monkeypatch").setattr(connecting, "EmbeddedConnection", brief)

            yield Forgetful("memory://" if kind == "memory" else f"sqlite:///{folder}/engine.db", lambda: None)
        case "postgres":
            url = request.getfixturevalue("database").fresh()

            with psycopg.connect(url, autocommit=True) as connection:
                yield Forgetful(url, lambda: _collect(connection))
        case _:
            with resonate_server(folder) as server:

                def lose() -> None:
                    with server.outage():
                        for file in folder.glob("resonate.db*"):
                            file.unlink()

                yield Forgetful(server.url, functools.cache(lose), everything=True)


def _collect(connection: psycopg.Connection) -> None:
    connection.execute("SELECT resonate.gc((extract(epoch FROM clock_timestamp()) * 1000)::bigint)")
