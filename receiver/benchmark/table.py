"""The results as text: the systems side by side, and each goal with what was measured and whether it is met.

Goals are ratios within one run wherever possible, so that they apply on any machine. Those in milliseconds, seconds and
MiB assume a machine like the one that the README names.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.benchmark.systems import EMBEDDED, KEPT, ON_POSTGRES, RAW_POSTGRES, SUSPENDED, SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.benchmark.results import Results

#: The sizes at which we are compared with Restate.
COMPARED: Final = (1000, 5000)
#: The factor by which the machine's speed may vary within a run whose verdicts are meaningful.
_BUSY: Final = 1.33
#: The share of a core that a busy loop gets at least on a machine that does nothing else.
_UNDISTURBED: Final = 0.9
_OPEN: Final = 10_000
_LEFT_OUT: Final = "left out"
_MS: Final = 1000
_POSTGRES: Final = (ON_POSTGRES, RAW_POSTGRES)
_COLUMNS: Final = (
    *("", "N", "starts/s", "callbacks/s", "resumed/s", "spread"),
    *("CPU/callback", "memory", "one callback", "99 %"),
)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One goal, and what was measured. `spread` is the range over the repetitions."""

    what: str
    bound: float
    at_most: bool = False
    value: float | None = None
    spread: tuple[float, float] | None = None
    unit: str = ""
    beside: str = ""

    @property
    def verdict(self) -> str:
        """`met` or `missed`, or `left out` if it was not measured."""
        if self.value is None:
            return _LEFT_OUT

        return "met" if (self.value <= self.bound if self.at_most else self.value >= self.bound) else "missed"

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of its line."""
        sign = "<=" if self.at_most else ">="
        value = "-" if self.value is None else f"{self.value:.2f} {self.unit}".strip()
        spread = "" if self.spread is None else f"{self.spread[0]:.2f} to {self.spread[1]:.2f}"

        return (self.what, value, spread, f"{sign} {self.bound:g} {self.unit}".strip(), self.verdict, self.beside)


def table(results: Results) -> str:
    """Return everything that a run has to say."""
    parts = [
        _aligned(side_by_side(results)),
        _aligned(
            [
                ("goal", "measured", "spread", "wanted", "verdict", ""),
                *(goal.cells for goal in goals(results)),
            ]
        ),
        *([_aligned(lists)] if len(lists := pages(results)) > 1 else []),
        "\n".join([results.machine, *(f"{name}: {what}" for name, what in results.versions.items())]),
        "\n".join(
            [
                "Measured values are medians of the repetitions, and ratios medians of the repetitions' ratios.",
                *([doubts(results)] if doubts(results) else []),
            ]
        ),
    ]

    return "\n\n".join(parts)


def side_by_side(results: Results) -> list[tuple[str, ...]]:
    """Return the cells of the table of systems: one line for each system and size, header first."""
    lines: list[tuple[str, ...]] = [_COLUMNS]

    for name, title in SYSTEMS.items():
        sizes = [size for size in _sizes(results) if results.median(f"{name} resumes {size}") is not None]
        lines += [(title, str(size), *_measured(results, name, size)) for size in sizes]

    for name, title in (("bare", "bare Starlette, JSON in and out"), ("verified", "the same + itsdangerous verify")):
        lines.append((title, "", "", _number(results.median(name)), "", _spread(results, name), "", "", "", ""))

    return lines


def pages(results: Results) -> list[tuple[str, ...]]:
    """Return the cells of the table of lists: one line for each system and page that was measured, header first."""
    lines: list[tuple[str, ...]] = [("50 rows of a list", "of", "a page", "99 %")]

    for name in (EMBEDDED, ON_POSTGRES):
        for place, title in (("first", "the latest"), ("deep", "half way through")):
            sample = f"{name} lists {place}"
            usual, high = results.median(sample), results.quantile(sample, 0.99)

            if usual is not None and high is not None:
                of, cells = _number(results.lists), [f"{seconds * _MS:.1f} ms" for seconds in (usual, high)]
                lines.append((f"{SYSTEMS[name]}, {title}", of, *cells))

    return lines


def goals(results: Results) -> list[Goal]:
    """Return every goal, in the order of the table."""
    first, last, resumed = results.sizes[0], results.sizes[-1], f"{EMBEDDED} resumes"

    return [
        *(
            _ratio(results, f"resumed N={size} : Restate, {mode}", f"resumes {size}", (EMBEDDED, name), bound)
            for name, mode, bound in ((SUSPENDED, "suspended", 1.6), (KEPT, "in memory", 0.8))
            for size in _compared(results)
        ),
        *(
            _ratio(results, f"CPU N={size} : Restate, in memory", f"cpu {size}", (EMBEDDED, KEPT), 1, at_most=True)
            for size in _compared(results)
        ),
        *(
            _ratio(results, f"starts N={size} : Restate, suspended", f"starts {size}", (EMBEDDED, SUSPENDED), 2)
            for size in _compared(results)
        ),
        _between(results, f"resumed N={last} : N={first}", (f"{resumed} {last}", f"{resumed} {first}"), 0.8),
        _ratio(results, "callbacks : raw SDK, Postgres", f"callbacks {results.postgres}", _POSTGRES, 1.7),
        _ratio(results, "resumed : raw SDK, Postgres", f"resumes {results.postgres}", _POSTGRES, 1.2),
        _between(results, "forged tokens refused : bare", ("forged", "bare"), 0.6),
        _latency(results, "one callback to visible result", EMBEDDED, 2.5),
        _latency(results, "the same on Postgres", ON_POSTGRES, 12),
        *_memory(results),
        _most("start to /readyz", results.median("start"), "s", 1.5),
        _restart(results),
    ]


def doubts(results: Results) -> str:
    """Return a warning if the machine was busy with other things, otherwise an empty string.

    Then systems of several processes get more of it than a system of one, so not even ratios hold.
    """
    span, share = results.range("bare"), results.range("share of a core")

    if share and share[0] < _UNDISTURBED:
        return f"Do not rely on this run: other programs left a busy loop only {share[0]:.0%} of a core."

    if span and span[1] / span[0] > _BUSY:
        times = span[1] / span[0]

        return f"Do not rely on this run: bare Starlette itself varied by a factor of {times:.1f}."

    return ""


def _sizes(results: Results) -> list[int]:
    return sorted({*results.sizes, results.postgres})


def _compared(results: Results) -> Sequence[int]:
    return [size for size in results.sizes if size in COMPARED] or results.sizes[-1:]


def _measured(results: Results, name: str, size: int) -> tuple[str, ...]:
    cpu, memory = results.median(f"{name} cpu {size}"), results.median(f"{name} memory {size}")
    latency, high = results.median(f"{name} latency"), results.quantile(f"{name} latency", 0.99)
    shown = size == min(results.sizes[0], results.postgres) or name in _POSTGRES

    return (
        *(_number(results.median(f"{name} {what} {size}")) for what in ("starts", "callbacks", "resumes")),
        _spread(results, f"{name} resumes {size}"),
        "" if cpu is None else f"{cpu:.2f} ms",
        "" if memory is None else f"{memory:.0f} MiB",
        *("" if value is None or not shown else f"{value * _MS:.1f} ms" for value in (latency, high)),
    )


def _ratio(  # noqa: PLR0913 - a goal
    results: Results, what: str, name: str, pair: tuple[str, str], bound: float, *, at_most: bool = False
) -> Goal:
    """Return the goal of the ratio between two systems, ours first; `name` follows the system's in their samples."""
    ours, other = pair
    missing = results.missing.get(other, "")

    return _between(results, what, (f"{ours} {name}", f"{other} {name}"), bound, at_most=at_most, missing=missing)


def _between(  # noqa: PLR0913 - a goal
    results: Results, what: str, names: tuple[str, str], bound: float, *, at_most: bool = False, missing: str = ""
) -> Goal:
    ratios = results.ratios(*names)

    if not ratios:
        return Goal(what=what, bound=bound, at_most=at_most, beside=missing)

    return Goal(
        what=what,
        bound=bound,
        at_most=at_most,
        value=statistics.median(ratios),
        spread=(min(ratios), max(ratios)) if len(ratios) > 1 else None,
    )


def _latency(results: Results, what: str, name: str, bound: float) -> Goal:
    value, high = results.median(f"{name} latency"), results.quantile(f"{name} latency", 0.99)

    if value is None or high is None:
        return _most(what, None, "ms", bound, beside=results.missing.get(name, ""))

    return _most(what, value * _MS, "ms", bound, beside=f"99 % within {high * _MS:.1f} ms")


def _memory(results: Results) -> list[Goal]:
    count = results.memory
    empty, full = results.median("memory empty"), results.median("memory suspended")
    over, again = results.median("memory finished"), "memory suspended again"
    each = None if empty is None or full is None else (full - empty) * 2**20 / 1000 / count
    beside = "" if each is None else f"from {empty or 0:.0f} to {full or 0:.0f} MiB, finished {over or 0:.0f}"

    return [
        _most("memory of a receiver alone", results.median("memory alone, busy"), "MiB", 80),
        _most(f"memory per workflow, N={count}", each, "KB", 10, beside=beside),
        _between(results, "the next N : the first N", (again, "memory suspended"), 1.1, at_most=True),
    ]


def _restart(results: Results) -> Goal:
    """Return the goal of a restart with open workflows, extrapolated to 10 000 of them."""
    start, restart, count = results.median("start"), results.median("restart"), results.memory
    what = "the same, 10 000 workflows open"

    if start is None or restart is None:
        return _most(what, None, "s", 3)

    seconds = start + max(0.0, restart - start) * _OPEN / count

    return _most(what, seconds, "s", 3, beside=f"{restart:.2f} s with {count}")


def _most(what: str, value: float | None, unit: str, bound: float, *, beside: str = "") -> Goal:
    return Goal(what=what, value=value, unit=unit, bound=bound, at_most=True, beside=beside)


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}".replace(",", " ")


def _spread(results: Results, name: str) -> str:
    span = results.range(name)

    return "" if span is None or span[0] == span[1] else f"{_number(span[0])} to {_number(span[1])}"
