"""Measuring one subject: a batch of workflows at once, and one callback at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.benchmark.load import Load, run_load
from receiver.benchmark.subjects import Ours, ids
from receiver.benchmark.systems import ON_POSTGRES, RAW_POSTGRES
from receiver.benchmark.usage import cpu_seconds, resident_mib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.benchmark.results import Results
    from receiver.benchmark.subjects import Subject

#: How many workflows are checked, and how many callbacks are repeated, after each batch of our own service.
_SAMPLE: Final = 200
_UNPROCESSABLE: Final = 422
_MS: Final = 1000


def measure_batch(results: Results, name: str, subject: Subject, size: int) -> None:
    """Start so many workflows, call all of them back, and take every figure that this gives.

    Raises:
        NotAsExpected: a result was wrong.
    """
    batch = ids(f"{size}", size)
    starts = subject.suspend(batch)
    subject.come_to_rest()
    # The processes of a Postgres server share most of their memory, which would be counted for each.
    memory = None if name in {ON_POSTGRES, RAW_POSTGRES} else resident_mib(subject.pids())
    before = cpu_seconds(subject.pids())
    settled = subject.settle(batch)
    subject.come_to_rest()
    after = cpu_seconds(subject.pids())

    for what, value in (
        ("starts", starts),
        ("callbacks", settled.callbacks),
        ("resumes", settled.resumes),
        ("memory", memory),
        ("cpu", None if before is None or after is None else (after - before) / size * _MS),
    ):
        results.take(f"{name} {what} {size}", value)

    if isinstance(subject, Ours):
        check(subject, batch)


def measure_one_by_one(results: Results, name: str, subject: Subject, count: int) -> None:
    """Take the seconds from a callback to the visible result of its workflow, for so many, one after the other.

    Raises:
        NotAsExpected: a result was wrong.
    """
    batch = ids("one", count)
    subject.suspend(batch)
    subject.come_to_rest()
    chains = [[subject.calling_back(one), subject.looking(one)] for one in batch]
    load = Load(
        port=subject.port,
        chains=chains,
        statuses=subject.statuses,
        expect=subject.visible,
        until=True,
        connections=1,
    )
    results.take(f"{name} latency", *run_load(load).durations)


def check(ours: Ours, batch: Sequence[str]) -> None:
    """Check that workflows have finished, and that their callbacks are not applied a second time.

    Raises:
        NotAsExpected: one has not, or was.
    """
    some = batch[:: max(1, len(batch) // _SAMPLE)]
    finished, again, changed = (
        [[make(one)] for one in some]
        for make in (ours.looking, ours.calling_back, lambda one: ours.calling_back(one, "1"))
    )
    run_load(Load(port=ours.port, chains=finished, expect=ours.visible, until=True))
    run_load(Load(port=ours.port, chains=again, expect='"duplicate":true'))
    run_load(Load(port=ours.port, chains=changed, statuses=(_UNPROCESSABLE,)))
