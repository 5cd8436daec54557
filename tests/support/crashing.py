"""Processes that work on an engine file until they are killed, and print every reply that they get.

Tests run this program and write a line `FILE RUN` to its input for every process. A line of the output is an
acknowledged effect (`created ID`, `settled ID VALUE`) or an event of the process (`started PID`, `open`, `stopped`,
`dead`).
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from resonate.context import Context
from resonate.resonate import Resonate
from resonate.types import TaskData, Value

from orchestrator.engine.embedded import retention
from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.lease_keeper import LeaseKeeper

FAR = 1 << 60


def say(*words: str) -> None:
    # A single write straight to the pipe, so a reply is known even if the process dies next.
    os.write(1, (" ".join(words) + "\n").encode())


async def flow(ctx: Context) -> Any:
    """Wait for somebody to settle the first child."""
    return await ctx.promise(timeout=timedelta(days=2))


async def main(path: str, run: str) -> None:
    """Keep starting and finishing workflows, sixteen at a time."""
    retention.SHORTEST_JOURNAL = 200  # type: ignore[misc]
    retention.LINGER = 20  # type: ignore[misc]
    connection = EmbeddedConnection(Path(path))
    chance = random.Random(run)  # noqa: S311 - no secret
    await connection.open()
    resonate = Resonate(network=connection, heartbeat=LeaseKeeper(connection), subscription_refresh_secs=0, env={})
    resonate.register(flow)
    target = connection.resolve_target("default")
    say("open")

    async def one(id_: str) -> None:
        task = Value(data=TaskData(func="flow", args=(), kwargs={}, version=1))
        tags = {"resonate:target": target, "resonate:branch": id_, "resonate:origin": id_}
        await resonate.promises.create(id_, FAR, task, tags)
        say("created", id_)
        await resonate.promises.create(f"{id_}:1", FAR, Value(), {"resonate:branch": id_})
        say("created", f"{id_}:1")
        await asyncio.sleep(chance.random() / 50)
        await resonate.promises.resolve(f"{id_}:1", Value(data=id_))
        say("settled", f"{id_}:1", id_)
        await connection.wait_settled(id_, 60)
        record = await resonate.promises.get(id_)
        say("settled", id_, str(record.value.data))

    async def caller(number: int) -> None:
        count = 0

        while True:
            count += 1
            await one(f"run{run}.{number}.{count}")

    await asyncio.gather(*(caller(number) for number in range(16)))


def serve() -> None:
    """Fork a process for every line of the input, one at a time, and print its events.

    Forking starts Python only once: a start takes longer than everything that the processes do.
    """
    for line in sys.stdin:
        path, _, run = line.strip().rpartition(" ")
        child = os.fork()

        if not child:
            asyncio.run(main(path, run))

        say("started", str(child))

        while os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1]):
            say("stopped")

        say("dead")


if __name__ == "__main__":
    serve()
