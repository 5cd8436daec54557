from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from receiver.benchmark.chart import nice_ticks, short
from receiver.benchmark.pictures import draw_results, draw_soak
from receiver.benchmark.results import Results
from receiver.benchmark.soak_results import Sample, SoakResults

SVG = "{http://www.w3.org/2000/svg}"


def measured() -> Results:
    results = Results(sizes=[200, 1000], memory=1, postgres=1, machine="Linux <here> & now")

    for name, rate in (("embedded", 1600.0), ("raw", 1200.0), ("restate suspended", 640.0), ("restate kept", 1300.0)):
        results.take(f"{name} latency", 0.002, 0.004)

        for size in results.sizes:
            results.take(f"{name} resumes {size}", rate - size / 10, rate)
            results.take(f"{name} memory {size}", 100.0)
            results.take(f"{name} cpu {size}", 1.5)

    return results


def soaked(count: int = 20) -> SoakResults:
    samples = [
        Sample(at=5.0 * n, callbacks=1000 * n, rate=200.0, memory=90.0, journal=8.0, median=1.0, high=2.0, speed=50.0)
        for n in range(1, count + 1)
    ]
    return SoakResults(samples=samples)


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - our own


def texts(root: ET.Element) -> set[str | None]:
    return {element.text for element in root.iter(f"{SVG}text")}


def test_the_picture_shows_every_system_with_its_figures() -> None:
    root = parsed(draw_results(measured()))

    assert {"Countersign, embedded", "raw SDK, not durable", "Restate, suspended", "Restate, in memory"} <= texts(root)
    assert {"2.0 / 4.0 ms", "3.0 / 4.0 ms"} & texts(root)
    assert {"100 MiB", "1.50 ms", "1\u2009000", "200", "Linux <here> & now"} <= texts(root)
    assert [len(line.attrib["points"].split()) for line in root.iter(f"{SVG}polyline")] == [2, 2, 2, 2]


def test_a_higher_rate_is_drawn_higher_and_a_longer_time_longer() -> None:
    results = measured()
    results.samples["embedded cpu 1000"] = [3.0]
    root = parsed(draw_results(results))
    heights = {
        line.attrib["class"]: float(line.attrib["points"].split()[0].split(",")[1])
        for line in root.iter(f"{SVG}polyline")
    }
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect") if "fill" in bar.attrib["class"]][-4:]

    assert heights["line s0"] < heights["line s3"] < heights["line s1"] < heights["line s2"]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)


def test_what_was_not_measured_is_not_drawn() -> None:
    results = measured()
    results.samples = {name: values for name, values in results.samples.items() if "restate" not in name}
    picture = draw_results(results)

    assert "Restate" not in picture
    assert "raw SDK" in picture
    parsed(draw_results(Results(sizes=[200], memory=1, postgres=1)))


def test_a_picture_of_a_run_that_was_disturbed_says_so() -> None:
    results = measured()
    results.take("share of a core", 0.3)

    assert "Do not rely on this run" in draw_results(results)
    assert "Do not rely on this run" not in draw_results(measured())


@pytest.mark.parametrize("picture", [draw_results(measured()), draw_soak(soaked())], ids=["results", "soak"])
def test_a_picture_is_for_every_reader_and_runs_nothing(picture: str) -> None:
    root = parsed(picture)
    labelled = root.attrib["aria-labelledby"].split()

    assert [root.find(f"{SVG}*[@id='{name}']") is not None for name in labelled] == [True, True]
    assert root.attrib["role"] == "img"
    assert "@media (prefers-color-scheme:dark)" in picture
    assert re.findall(r"<script|href|\son\w+=|url\(|@import", picture) == []


def test_the_description_has_the_figures_in_words() -> None:
    description = parsed(draw_results(measured())).findtext(f"{SVG}desc") or ""

    assert "Restate, suspended: 630 at N=200, 590 at N=1000" in description
    assert "memory: Countersign, embedded 100 MiB" in description


def test_a_soak_is_four_curves_over_minutes() -> None:
    root = parsed(draw_soak(soaked()))

    assert [len(line.attrib["points"].split()) for line in root.iter(f"{SVG}polyline")] == [20, 20, 20, 20]
    assert {"Resident memory, MiB", "Journal on disk, MiB", "minutes"} <= texts(root)
    parsed(draw_soak(SoakResults()))


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (1000, [0, 200, 400, 600, 800, 1000]),
        (2700, [0, 1000, 2000, 3000]),
        (0.9, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, [0, 1]),
    ],
)
def test_an_axis_has_round_values_up_to_the_greatest(most: float, ticks: list[float]) -> None:
    assert nice_ticks(most) == pytest.approx(ticks)


def test_a_number_is_short() -> None:
    assert [short(10_000), short(0.25), short(7.0)] == ["10\u2009000", "0.25", "7"]
