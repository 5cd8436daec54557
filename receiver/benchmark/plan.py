"""How much the benchmark measures, and the command line that chooses it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured: sizes of batches, repetitions, seconds of a plain load, numbers of workflows elsewhere.

    `rest` is the seconds between the end of workflows and the measurement of memory: the engine keeps them for ten.
    """

    sizes: tuple[int, ...] = (200, 1000, 5000)
    raw_sizes: tuple[int, ...] = (200, 1000)
    repetitions: int = 3
    seconds: float = 1.5
    latency: int = 200
    memory: int = 5000
    rest: float = 12.0
    postgres: int = 500
    gone: int = 0


QUICK: Final = Plan(
    sizes=(200, 1000), raw_sizes=(200,), repetitions=1, seconds=1.0, latency=100, memory=1000, rest=11.0, postgres=200
)
FULL: Final = Plan(sizes=(200, 1000, 5000, 10_000), raw_sizes=(200, 1000, 5000), memory=10_000, gone=100_000)


def chosen(arguments: Sequence[str] | None, prog: str) -> tuple[Plan, Path | None]:
    """Return the plan that these arguments choose, and the file for the samples, None if they name none."""
    parser = argparse.ArgumentParser(prog=prog, description="The benchmark; about 3 minutes by default.")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--quick", action="store_true", help="about 45 seconds")
    how_much.add_argument("--full", action="store_true", help="also 10 000 workflows, and 100 000 that come and go")
    how_much.add_argument("--size", type=int, metavar="N", help="measure everything once, with N workflows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to this file")
    given = parser.parse_args(arguments)
    plan = QUICK if given.quick else FULL if given.full else Plan() if given.size is None else _trial(given.size)

    return plan, given.json


def _trial(size: int) -> Plan:
    """Return the plan that measures everything once, with so many workflows."""
    return Plan(
        sizes=(size,), raw_sizes=(size,), repetitions=1, seconds=0.3, latency=size, memory=size, rest=0, postgres=size
    )
