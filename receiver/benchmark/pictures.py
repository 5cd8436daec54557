"""The pictures of a run and of a soak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.benchmark.chart import (
    Axis,
    Bar,
    Box,
    Point,
    Series,
    as_text,
    draw_bars,
    draw_legend,
    draw_lines,
    draw_text,
    nice_ticks,
    picture,
    short,
)
from receiver.benchmark.systems import EMBEDDED, KEPT, RAW, SUSPENDED, SYSTEMS
from receiver.benchmark.table import doubts

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.benchmark.results import Results
    from receiver.benchmark.soak_results import Sample, SoakResults

#: The systems in the picture, in the order of their colours.
_DRAWN: Final = (EMBEDDED, RAW, SUSPENDED, KEPT)
_WIDTH: Final = 880
_MARGIN: Final = 24
_MS: Final = 1000


def draw_results(results: Results) -> str:
    """Return the picture of a run: resumed workflows per second by their number, latency, memory and CPU time."""
    lines = [_resumed(results, name) for name in _DRAWN]
    drawn = [line for line in lines if line.points]
    root = picture(_WIDTH, 658, "How fast Countersign is, beside other systems", _in_words(drawn, results))
    draw_legend(root, _MARGIN, 34, [(line.name, line.place) for line in drawn])
    axis = Axis("workflows that wait, N (logarithmic)", results.sizes, logarithmic=True)
    draw_lines(root, Box(_MARGIN, 70, _WIDTH - 2 * _MARGIN, 300), "Resumed workflows per second", axis, drawn)
    third = (_WIDTH - 2 * _MARGIN - 60) / 3
    note = f"all processes, N = {short(_largest_common(results))}"
    bars = (
        ("One callback to its result", "median / 99th percentile (thin line)", _latency(results)),
        ("Resident memory", note, _bars(results, "memory", "MiB")),
        ("CPU time per callback", note, _bars(results, "cpu", "ms")),
    )

    for number, chart in enumerate(bars):
        draw_bars(root, Box(_MARGIN + number * (third + 30), 408, third, 180), *chart)

    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())

    for number, line in enumerate((results.machine, versions, doubts(results))):
        draw_text(root, (_MARGIN, 606 + 18 * number), line, "small")

    return as_text(root)


def draw_soak(results: SoakResults) -> str:
    """Return the picture of a soak over time: rate, the speed of the machine itself, memory and journal."""
    curves: tuple[tuple[str, Callable[[Sample], float]], ...] = (
        ("Workflows per second, from start to end", lambda sample: sample.rate),
        ("The machine itself in between: thousand rounds of the same work per second", lambda sample: sample.speed),
        ("Resident memory, MiB", lambda sample: sample.memory),
        ("Journal on disk, MiB", lambda sample: sample.journal),
    )
    minutes = results.samples[-1].at / 60 if results.samples else 1.0
    total = results.samples[-1].callbacks if results.samples else 0
    title = f"{short(total)} workflows that came and went in {minutes:.1f} minutes"
    described = "; ".join(f"{verdict.what}: {verdict.measured}" for verdict in results.verdicts())
    root = picture(_WIDTH, 874, title, f"{title}. {described}.")
    draw_text(root, (_MARGIN, 32), title, "heading")
    ticks = nice_ticks(minutes)

    for number, (heading, value) in enumerate(curves):
        axis = Axis("minutes" if number == len(curves) - 1 else "", ticks)
        points = [Point(sample.at / 60, value(sample)) for sample in results.samples]
        box = Box(_MARGIN, 70 + number * 194, _WIDTH - 2 * _MARGIN, 186)
        draw_lines(root, box, heading, axis, [Series(heading, 0, points)])

    draw_text(root, (_MARGIN, 858), results.machine, "small")

    return as_text(root)


def _resumed(results: Results, name: str) -> Series:
    points = []

    for size in results.sizes:
        sample = f"{name} resumes {size}"
        value = results.median(sample)

        if value is not None:
            points.append(Point(size, value, results.range(sample)))

    return Series(SYSTEMS[name], _DRAWN.index(name), points)


def _largest_common(results: Results) -> int:
    """Return the largest size that every system was measured with, apart from the raw SDK, which gets too slow."""
    present = [name for name in (EMBEDDED, SUSPENDED, KEPT) if results.median(f"{name} latency") is not None]
    common = [
        size for size in results.sizes if all(results.median(f"{name} memory {size}") is not None for name in present)
    ]

    return max(common, default=results.sizes[-1])


def _latency(results: Results) -> list[Bar]:
    bars = []

    for place, name in enumerate(_DRAWN):
        value, high = results.median(f"{name} latency"), results.quantile(f"{name} latency", 0.99)

        if value is not None and high is not None:
            text = f"{value * _MS:.1f} / {high * _MS:.1f} ms"
            bars.append(Bar(SYSTEMS[name], place, value, text, high))

    return bars


def _bars(results: Results, what: str, unit: str) -> list[Bar]:
    size, bars = _largest_common(results), []

    for place, name in enumerate(_DRAWN):
        value = results.median(f"{name} {what} {size}")

        if value is not None:
            text = f"{value:.2f} {unit}" if unit == "ms" else f"{value:.0f} {unit}"
            bars.append(Bar(SYSTEMS[name], place, value, text))

    return bars


def _in_words(lines: list[Series], results: Results) -> str:
    resumed = "; ".join(
        f"{line.name}: " + ", ".join(f"{point.y:.0f} at N={point.x:.0f}" for point in line.points) for line in lines
    )
    bars = "; ".join(
        f"{what}: " + ", ".join(f"{bar.name} {bar.text}" for bar in drawn)
        for what, drawn in (
            ("one callback to its visible result", _latency(results)),
            ("memory", _bars(results, "memory", "MiB")),
            ("CPU time per callback", _bars(results, "cpu", "ms")),
        )
        if drawn
    )

    return f"Resumed workflows per second. {resumed}. Besides, {bars}."
