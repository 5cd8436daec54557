"""How much the benchmark measures, and the command line that chooses it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured: sizes of batches, repetitions, seconds of a plain load, numbers of workflows elsewhere.

    The raw SDK gets slow with many workflows, so of `raw_once` there is a single repetition. `rest` is the seconds
    between the end of workflows and the measurement of memory: the engine keeps them for ten. `lists` is the number of
    workflows that are over when lists are measured.
    """

    sizes: tuple[int, ...] = (200, 1000, 5000)
    encrypted_sizes: tuple[int, ...] = (200, 1000, 5000)
    raw_sizes: tuple[int, ...] = (200, 1000)
    raw_once: tuple[int, ...] = ()
    restate_sizes: tuple[int, ...] = (200, 1000, 5000)
    restate: bool = False
    repetitions: int = 3
    seconds: float = 1.5
    latency: int = 200
    memory: int = 5000
    rest: float = 12.0
    postgres: int = 500
    lists: int = 5000


@dataclass(frozen=True, kw_only=True)
class SoakPlan:
    """How long workflows come and go: until so many callbacks or so many minutes. Finished ones are kept `retention` s.

    They come in waves of `wave`, and a figure is taken about every `interval` seconds.
    """

    callbacks: int = 1_000_000
    minutes: float = 10.0
    wave: int = 1000
    interval: float = 5.0
    retention: int = 20


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What the command line asks for: a measurement, or what is in the file `results`; and where its results go."""

    plan: Plan | SoakPlan = field(default_factory=Plan)
    results: Path | None = None
    json: Path | None = None
    picture: Path | None = None
    readme: Path | None = None


QUICK: Final = Plan(
    sizes=(200, 1000),
    encrypted_sizes=(200, 1000),
    raw_sizes=(200,),
    restate_sizes=(200, 1000),
    repetitions=1,
    seconds=1.0,
    latency=100,
    memory=1000,
    rest=11.0,
    postgres=200,
    lists=1000,
)
FULL: Final = Plan(sizes=(200, 1000, 5000, 10_000), raw_once=(5000,), memory=10_000, lists=10_000)


def chosen(arguments: Sequence[str] | None, prog: str) -> Chosen:
    """Return what these arguments ask for."""
    parser = _parser(prog)
    given = parser.parse_args(arguments)
    output = {"results": given.results, "json": given.json, "picture": given.picture}

    if given.command == "soak":
        soak = SoakPlan(callbacks=given.callbacks, minutes=given.minutes)

        return Chosen(plan=soak, **output)

    plan = QUICK if given.quick else FULL if given.full else Plan() if given.size is None else _trial(given.size)

    return Chosen(plan=replace(plan, restate=given.with_restate), readme=given.readme, **output)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="The benchmark; about 5 minutes by default, 10 with Restate."
    )
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--quick", action="store_true", help="about a minute, 2 with Restate; too short for figures")
    how_much.add_argument("--full", action="store_true", help="also 10 000 workflows; about 9 minutes, 15 with Restate")
    how_much.add_argument("--size", type=_positive, metavar="N", help="measure everything once, with N workflows")
    parser.add_argument("--with-restate", action="store_true", help="fetch Restate by npm and pip, and compare with it")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="replace the first text block of this document")
    _outputs(parser)
    commands = parser.add_subparsers(dest="command", metavar="soak")
    soak = commands.add_parser("soak", help="let workflows come and go for minutes; exit code 1 if anything grows")
    soak.add_argument("--callbacks", type=_positive, default=SoakPlan.callbacks, metavar="N", help="at most so many")
    soak.add_argument("--minutes", type=float, default=SoakPlan.minutes, metavar="M", help="at most so long")
    _outputs(soak)

    return parser


def _outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them as SVG into this file")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="results", help="measure nothing: show these results")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"not a positive number: {text}")

    return int(text)


def _trial(size: int) -> Plan:
    """Return the plan that measures everything once, with so many workflows."""
    return Plan(
        sizes=(size,),
        encrypted_sizes=(size,),
        raw_sizes=(size,),
        restate_sizes=(size,),
        repetitions=1,
        seconds=0.3,
        latency=size,
        memory=size,
        rest=0,
        postgres=size,
        lists=size,
    )
