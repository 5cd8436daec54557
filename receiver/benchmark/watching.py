"""`python -m receiver.benchmark.watching`: what it costs to watch many Databricks runs, against the emulator.

Every run is waited for by a workflow of its own, in one process with an engine in memory, through the real client. It
prints how many calls a second the workspace gets, in how many seconds a run that dies is seen, what one 429 does to
all watchers, and what a workspace gets that comes back after an outage. Wall-clock times: use an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from orchestrator.config.settings import load_settings
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.run import idempotency_token
from orchestrator.databricks.sdk import connect as sign_in
from orchestrator.durable.opened_at import opened_at
from orchestrator.engine import connect
from orchestrator.runs.roots import start_root, view_root
from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Fault, Job
from orchestrator.worker import prepare_worker
from orchestrator.workflows import databricks_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.config.settings import Settings
    from orchestrator.engine import Engine

_JOB: Final = 1
_POLLS: Final = frozenset({"runs/get", "runs/list"})


class Watched:
    """Some workflows, each of which waits for a run."""

    def __init__(self, engine: Engine, emulator: Emulator, interval: float) -> None:
        self._engine = engine
        self._emulator = emulator
        self._interval = interval

    async def start(self, count: int) -> None:
        """Start the workflows, and return when each has its run."""
        request = {"job_id": _JOB, "watch_interval": self._interval, "answer": "run"}

        for number in range(count):
            await start_root(
                self._engine,
                name=databricks_pipeline.name,
                workflow_id=str(number),
                text=json.dumps(request),
                group=databricks_pipeline.group,
                timeout=databricks_pipeline.timeout,
            )

        while len(self._emulator.workspace.runs()) < count:  # noqa: ASYNC110 - the workspace has no event for this
            await asyncio.sleep(0.5)

    async def calls(self, seconds: float) -> list[Counter[str]]:
        """Return how often each path was called in each of the next seconds."""
        seen = [len(self._emulator.workspace.requests)]
        began = time.monotonic()

        for number in range(1, int(seconds) + 1):
            await asyncio.sleep(max(began + number - time.monotonic(), 0))
            seen.append(len(self._emulator.workspace.requests))

        every = self._emulator.workspace.requests

        return [Counter(call["path"] for call in every[first:last]) for first, last in pairwise(seen)]

    async def deaths(self, count: int, *, within: float) -> list[float]:
        """Let so many runs die one after the other, and return in how many seconds the workflow of each has ended."""
        rng = random.Random(1)  # noqa: S311 - a choice of runs, the same each time
        workspace = self._emulator.workspace
        chosen = rng.sample([run for run in workspace.runs() if not run.over], count)
        names = await self._names()

        async def die(run_id: int) -> float:
            await asyncio.sleep(rng.uniform(0, within))
            workspace.move(run_id, "INTERNAL_ERROR", "FAILED", "The cluster was lost")
            began = time.monotonic()
            record = await self._engine.wait_settled(names[run_id], seconds=10 * self._interval)

            return time.monotonic() - began if view_root(record).state == "failed" else float("inf")

        return await asyncio.gather(*(die(run.run_id) for run in chosen))

    async def _names(self) -> dict[int, str]:
        """Return the roots of the workflows by the ids of their runs."""
        runs = {run.idempotency_token: run.run_id for run in self._emulator.workspace.runs()}
        names = {}

        for number in range(len(runs)):
            root_id = f"{databricks_pipeline.name}.{number}"
            wait = await self._engine.promises.get(f"{root_id}:1")
            names[runs[idempotency_token(wait.id, opened_at(wait))]] = root_id

        return names


def _told(what: str, calls: Sequence[Counter[str]]) -> str:
    polls = [sum(count for path, count in second.items() if path in _POLLS) for second in calls]
    total: Counter[str] = sum(calls, Counter())
    by_path = ", ".join(f"{total[path]} {path}" for path in sorted(_POLLS))

    return f"{what}: {sum(polls) / len(polls):.2f} polls/s, at most {max(polls)} in one second ({by_path})"


def _settings() -> Settings:
    variables = {
        "COUNTERSIGN_ENGINE": "memory://",
        "COUNTERSIGN_PUBLIC_URL": "http://127.0.0.1:8000",
        "COUNTERSIGN_SIGNING_KEYS": secrets.token_urlsafe(32),
    }

    return load_settings(variables)


async def measure(runs: int, interval: float) -> None:
    """Print the figures for so many runs that are polled every `interval` seconds."""
    with Emulator(jobs={_JOB: Job(fate="hold")}) as emulator:
        chosen = _settings()
        engine = await connect(chosen, work=True)
        workspace = Databricks(lambda: sign_in(host=emulator.url, token=emulator.token), counts=engine.counts)
        prepare_worker(engine, chosen, [databricks_pipeline], databricks=workspace)
        engine.start()

        try:
            watched = Watched(engine, emulator, interval)
            await watched.start(runs)
            print(f"{runs} runs, polled every {interval:g} s")
            await asyncio.sleep(interval * 2)
            print(_told("quiet", await watched.calls(interval * 2)))
            deaths = sorted(await watched.deaths(max(runs // 20, 1), within=interval))
            print(
                f"{len(deaths)} deaths: seen after {deaths[len(deaths) // 2]:.1f} s (median), {deaths[-1]:.1f} s (most)"
            )
            emulator.workspace.fail_next(Fault(kind="status", on="*", status=429, retry_after=int(interval)))
            calls = await watched.calls(interval * 3)
            first = next(number for number, second in enumerate(calls) if second)
            print(
                _told(f"one 429 with Retry-After {int(interval)}: until then", calls[first + 1 : first + int(interval)])
            )
            print(_told("after it", calls[first + int(interval) :]))
            emulator.workspace.fail_next(Fault(kind="status", on="*", status=503, count=1_000_000))
            print(_told("an outage", await watched.calls(interval * 2)))
            emulator.workspace.heal()
            print(_told("after the outage", await watched.calls(interval * 2)))
        finally:
            await engine.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m receiver.benchmark.watching", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many runs are open; 1000 by default")
    parser.add_argument("--interval", type=float, default=60, help="seconds between two polls of a run; 60 by default")
    asked: Any = parser.parse_args(arguments)
    asyncio.run(measure(asked.runs, asked.interval))


if __name__ == "__main__":
    main()
