"""Recovery from the file after a `kill -9`, and the tasks that nobody works on any more."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from resonate.resonate import Resonate
from support.embedded import FAR, TARGET, Inbox, ask, calm, create, engine, true_soon

ROOT = Path(__file__).parents[4]


class Victims:
    """Processes under load, one after another, and the replies that they got."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/crashing.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._said: dict[str, str] = {}
        self._lines: list[bytes] = []
        self._rest = b""

    async def start(self, path: Path, run: int) -> None:
        """Start another process, and return when it is working on the file."""
        self._said, self._lines = {}, []
        os.write(self._input.fileno(), f"{path} {run}\n".encode())
        await self.says("started")
        await self.says("open")

    async def signal(self, number: signal.Signals) -> None:
        os.kill(int(self._said["started"]), number)

        if number == signal.SIGSTOP:
            await self.says("stopped")

    def read(self) -> list[bytes]:
        """Return every acknowledgement so far: exactly what the process has written."""
        while chunk := os.read(self._output.fileno(), 1 << 20) if self._ready() else b"":
            *lines, self._rest = (self._rest + chunk).split(b"\n")

            for line in lines:
                if line.startswith((b"created ", b"settled ")):
                    self._lines.append(line)
                else:
                    word, _, rest = line.decode().partition(" ")
                    self._said[word] = rest

        return list(self._lines)

    async def says(self, word: str) -> None:
        """Return when the output says this about the process."""
        await true_soon(lambda: self.read() is not None and word in self._said)

    async def answered(self, count: int) -> None:
        """Return after so many replies, so that the process dies at a point of its work and not of the clock."""
        await true_soon(lambda: len(self.read()) >= count)

    async def kill(self) -> list[bytes]:
        """Kill the process, and return all its acknowledgements."""
        await self.signal(signal.SIGKILL)
        await self.says("dead")
        return self.read()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(30)
        self._input.close()
        self._output.close()

    def _ready(self) -> bool:
        return bool(select.select([self._output], [], [], 0)[0])


@pytest.fixture
def victims() -> Iterator[Victims]:
    victims = Victims()
    yield victims
    victims.close()


async def untrue(path: Path, lines: list[bytes]) -> list[bytes]:
    """Return those acknowledgements that an engine opened on the file does not know."""
    wrong = []

    async with engine(path) as connection:
        resonate = Resonate(network=connection, autostart=False, env={})

        for line in lines:
            kind, id_, *value = line.decode().split(" ")
            record = await resonate.promises.get(id_)

            if kind == "settled" and (record.state != "resolved" or record.value.data != value[0]):
                wrong.append(line)

    return wrong


@pytest.mark.slow
async def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(
    path: Path, tmp_path: Path, victims: Victims
) -> None:
    answered: list[bytes] = []
    chance = random.Random(20261121)  # noqa: S311 - no secret

    for run in range(10):
        await victims.start(path, run)
        await victims.answered(chance.randrange(1, 400))
        copy = tmp_path / f"copy{run}"
        copy.mkdir()
        await victims.signal(signal.SIGSTOP)
        until_copied = victims.read()

        for file in path.parent.glob("engine.db*"):
            shutil.copy(file, copy)

        await victims.signal(signal.SIGCONT)
        await victims.answered(len(until_copied) + chance.randrange(1, 100))
        answered_now = await victims.kill()
        answered += answered_now

        assert await untrue(path, answered_now) == []
        assert await untrue(copy / "engine.db", until_copied) == []

    assert await untrue(path, answered) == []
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
