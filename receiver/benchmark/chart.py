"""Charts as SVG: axes, lines and bars, readable in light and in dark mode, without a script.

Colours follow `prefers-color-scheme`, also where the picture is embedded in a page. Series differ in the form of their
marks as well, and the numbers are in the picture's description too, for readers who do not see it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Ink, secondary ink, grid, paper, then one colour for each series: in light mode and in dark mode.
_LIGHT: Final = ("#1f2328", "#59636e", "#d9dee3", "#ffffff", "#0958c9", "#6a7078", "#b8480b", "#8035b8")
_DARK: Final = ("#e8edf2", "#a3adb8", "#343b43", "#0d1117", "#6db1ff", "#aab2bb", "#ff9d5c", "#cf9bff")
_MARK: Final = 4.5
_ROW: Final = 38


type Place = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """A value at `x`, with the range of its samples if there are several."""

    x: float
    y: float
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """A line through points. `place` chooses its colour and the form of its marks."""

    name: str
    place: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Bar:
    """A horizontal bar with its value in words; `high` is a second value, shown as a thin line."""

    name: str
    place: int
    value: float
    text: str
    high: float | None = None


@dataclass(frozen=True)
class Box:
    """Where a chart is, in pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Axis:
    """A horizontal axis: its label, the values that are marked, and whether it is logarithmic."""

    label: str
    ticks: Sequence[float]
    logarithmic: bool = False


def picture(width: int, height: int, title: str, description: str) -> ET.Element:
    """Return an empty picture."""
    size = {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
    described = {"role": "img", "aria-labelledby": "title description"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, **described})
    ET.SubElement(root, "title", id="title").text = title
    ET.SubElement(root, "desc", id="description").text = description
    ET.SubElement(root, "style").text = _style()
    ET.SubElement(root, "rect", {"class": "paper", "width": str(width), "height": str(height)})

    return root


def as_text(root: ET.Element) -> str:
    """Return the picture as a document."""
    ET.indent(root)

    return ET.tostring(root, encoding="unicode") + "\n"


def draw_text(root: ET.Element, at: Place, text: str, kind: str = "", anchor: str = "start") -> None:
    """Write a line of text; `kind` is `heading`, `small`, or empty."""
    place = {"x": _px(at[0]), "y": _px(at[1]), "text-anchor": anchor}
    ET.SubElement(root, "text", {**place, **({"class": kind} if kind else {})}).text = text


def draw_legend(root: ET.Element, left: float, top: float, series: Sequence[tuple[str, int]]) -> None:
    """Draw the marks and the names of these series in a row."""
    for name, place in series:
        _line(root, (left, top - 4), (left + 26, top - 4), f"line s{place}")
        _mark(root, left + 13, top - 4, place)
        draw_text(root, (left + 33, top), name)
        left += 52 + 7.2 * len(name)


def draw_lines(root: ET.Element, box: Box, heading: str, axis: Axis, series: Sequence[Series]) -> None:
    """Draw series over one horizontal axis; the vertical one begins at 0."""
    draw_text(root, (box.left, box.top), heading, "heading")
    values = [value for one in series for point in one.points for value in (point.y, *(point.span or ()))]
    ticks = nice_ticks(max(values, default=1.0))
    top, bottom = box.top + 16, box.top + box.height - 38
    left, right = box.left + 52, box.left + box.width - 14
    across = _scale(axis, left, right)

    def up(value: float) -> float:
        return bottom - (bottom - top) * value / ticks[-1]

    for tick in ticks:
        _line(root, (left, up(tick)), (right, up(tick)), "grid")
        draw_text(root, (left - 8, up(tick) + 4), short(tick), "small", "end")

    for tick in axis.ticks:
        _line(root, (across(tick), bottom), (across(tick), bottom + 5), "grid")
        draw_text(root, (across(tick), bottom + 18), short(tick), "small", "middle")

    draw_text(root, ((left + right) / 2, bottom + 35), axis.label, "small", "middle")

    # Ours, the first series, is drawn last, over the others.
    for one in reversed(series):
        marks = len(one.points) <= 2 * len(axis.ticks)
        path = " ".join(f"{_px(across(point.x))},{_px(up(point.y))}" for point in one.points)
        ET.SubElement(root, "polyline", {"class": f"line s{one.place}", "points": path})

        for point in one.points if marks else ():
            x = across(point.x)

            if point.span is not None:
                _line(root, (x, up(point.span[0])), (x, up(point.span[1])), f"line s{one.place}")

            _mark(root, x, up(point.y), one.place)


def draw_bars(root: ET.Element, box: Box, heading: str, note: str, bars: Sequence[Bar]) -> None:
    """Draw bars below each other, each with its name and its value above it."""
    draw_text(root, (box.left, box.top), heading, "heading")
    draw_text(root, (box.left, box.top + 17), note, "small")
    most = max((max(bar.value, bar.high or 0) for bar in bars), default=1) or 1

    for number, bar in enumerate(bars):
        top = box.top + 42 + number * _ROW
        draw_text(root, (box.left, top), bar.name, "small")
        draw_text(root, (box.left + box.width, top), bar.text, "", "end")
        size = {"x": _px(box.left), "y": _px(top + 6), "width": _px(box.width * bar.value / most), "height": "9"}
        ET.SubElement(root, "rect", {"class": f"fill s{bar.place}", **size})

        if bar.high is not None:
            right = box.left + box.width * bar.high / most
            _line(root, (box.left, top + 10.5), (right, top + 10.5), f"thin s{bar.place}")


def nice_ticks(most: float, count: int = 5) -> list[float]:
    """Return round values from 0 to one that is not below `most`, about `count` of them besides 0."""
    rough = (most or 1.0) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))

    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)] if most else [0.0, 1.0]


def short(value: float) -> str:
    """Return a number with thin spaces between thousands."""
    return (f"{value:,.0f}" if value == round(value) else f"{value:g}").replace(",", "\u2009")


def _scale(axis: Axis, left: float, right: float) -> Callable[[float], float]:
    def place(value: float) -> float:
        return math.log(value) if axis.logarithmic else value

    low, high = place(axis.ticks[0]), place(axis.ticks[-1])

    def across(value: float) -> float:
        return (
            (left + right) / 2 if high == low else left + 10 + (right - left - 20) * (place(value) - low) / (high - low)
        )

    return across


def _mark(root: ET.Element, x: float, y: float, place: int) -> None:
    """Draw a circle, a square, a triangle or a diamond."""
    size = _MARK
    corners: dict[int, list[Place]] = {
        1: [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        2: [(0, -1.3), (1.2, 1), (-1.2, 1)],
        3: [(0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)],
    }

    if place not in corners:
        ET.SubElement(root, "circle", {"class": f"fill s{place}", "cx": _px(x), "cy": _px(y), "r": _px(size)})
        return

    path = " ".join(f"{_px(x + across * size)},{_px(y + down * size)}" for across, down in corners[place])
    ET.SubElement(root, "polygon", {"class": f"fill s{place}", "points": path})


def _line(root: ET.Element, start: Place, end: Place, kind: str) -> None:
    ends = {"x1": _px(start[0]), "y1": _px(start[1]), "x2": _px(end[0]), "y2": _px(end[1])}
    ET.SubElement(root, "line", {"class": kind, **ends})


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _style() -> str:
    fonts = (
        "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
        ".small{font-size:12px}.heading{font-size:15px;font-weight:600}"
        ".line{fill:none;stroke-width:2}.thin{stroke-width:1.5}.grid{stroke-width:1}"
    )

    return f"{fonts}{_colours(_LIGHT)}@media (prefers-color-scheme:dark){{{_colours(_DARK)}}}"


def _colours(palette: Sequence[str]) -> str:
    ink, soft, grid, paper, *series = palette
    common = f"text{{fill:{ink}}}.small{{fill:{soft}}}.grid{{stroke:{grid}}}.paper{{fill:{paper}}}"

    return common + "".join(
        f".line.s{place},.thin.s{place}{{stroke:{colour}}}.fill.s{place}{{fill:{colour}}}"
        for place, colour in enumerate(series)
    )
