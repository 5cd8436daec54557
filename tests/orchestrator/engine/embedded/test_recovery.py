"""Going on from the file: after a `kill -9`, with the tasks that nobody works on any more."""

from __future__ import annotations

import asyncio
import os
import random
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from resonate.resonate import Resonate
from support.embedded import FAR, TARGET, Inbox, ask, calm, create, engine, true_soon

ROOT = Path(__file__).parents[4]


class Victim:
    """A process under load, and what it was answered."""

    def __init__(self, path: Path, run: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/crashing.py"), str(path), str(run)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        assert self._pipe.readline() == b"open\n"
        os.set_blocking(self._pipe.fileno(), False)
        self.lines: list[bytes] = []
        self._rest = b""

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def read(self) -> list[bytes]:
        """Return every line so far; no more than the process had written."""
        while chunk := os.read(self._pipe.fileno(), 1 << 20) if self._ready() else b"":
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self.lines += lines

        return list(self.lines)

    async def answered(self, count: int) -> None:
        """Return when it was answered so often: the moment of its death is one of its work, not one of the clock."""
        await true_soon(lambda: len(self.read()) >= count)

    def kill(self) -> list[bytes]:
        self._process.kill()
        self._process.wait(30)
        lines = self.read()
        self._pipe.close()
        return lines

    def _ready(self) -> bool:
        return bool(select.select([self._pipe], [], [], 0)[0])


async def untrue(path: Path, lines: list[bytes]) -> list[bytes]:
    """Return those of the acknowledgements that an engine opened on the file knows nothing of."""
    wrong = []

    async with engine(path) as connection:
        resonate = Resonate(network=connection, autostart=False, env={})

        for line in lines:
            kind, id_, *value = line.decode().split(" ")
            record = await resonate.promises.get(id_)

            if kind == "settled" and (record.state != "resolved" or record.value.data != value[0]):
                wrong.append(line)

    return wrong


@pytest.mark.timeout(600)  # ten starts of Python, which a busy machine takes ten seconds each for
async def test_nothing_that_was_answered_is_lost_when_the_process_is_killed(path: Path, tmp_path: Path) -> None:
    answered: list[bytes] = []
    chance = random.Random(20261121)  # noqa: S311 - no secret

    for run in range(10):
        victim = await asyncio.to_thread(Victim, path, run)
        await victim.answered(chance.randrange(1, 400))
        copy = tmp_path / f"copy{run}"
        copy.mkdir()
        victim.signal(signal.SIGSTOP)
        until_copied = victim.read()

        for file in path.parent.glob("engine.db*"):
            shutil.copy(file, copy)

        victim.signal(signal.SIGCONT)
        await victim.answered(len(until_copied) + chance.randrange(1, 100))
        answered += await asyncio.to_thread(victim.kill)

        assert await untrue(path, answered) == []
        assert await untrue(copy / "engine.db", until_copied) == []

    assert len(answered) > 1000


async def test_leases_of_a_dead_process_are_given_back_and_announced(path: Path) -> None:
    async with engine(path) as connection:
        action = {"kind": "promise.create", "data": {"id": "made", "timeoutAt": FAR, "tags": TARGET}}
        await ask(connection, "task.create", pid="p", ttl=60_000, action=action)
        await create(connection, "taken", TARGET)
        await ask(connection, "task.acquire", id="taken", version=0, pid="p", ttl=60_000)
        await create(connection, "free", TARGET)

    async with engine(path) as connection:
        inbox = Inbox(connection)
        await connection.start()
        await calm(connection)

        assert sorted(inbox.tasks) == ["free", "made", "taken"]
        assert (await ask(connection, "task.acquire", id="made", version=1, pid="q", ttl=1000))["status"] == 200
