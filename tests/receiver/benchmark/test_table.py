from __future__ import annotations

import pytest

from receiver.benchmark.results import Results
from receiver.benchmark.table import Goal, goals, pages, side_by_side, table

GOALS = [
    "resumed N=1000 : Restate, suspended",
    "resumed N=5000 : Restate, suspended",
    "resumed N=1000 : Restate, in memory",
    "resumed N=5000 : Restate, in memory",
    "CPU N=1000 : Restate, in memory",
    "CPU N=5000 : Restate, in memory",
    "starts N=1000 : Restate, suspended",
    "starts N=5000 : Restate, suspended",
    "resumed N=10000 : N=200",
    "callbacks : raw SDK, Postgres",
    "resumed : raw SDK, Postgres",
    "forged tokens refused : bare",
    "one callback to visible result",
    "the same on Postgres",
    "memory of a receiver alone",
    "memory per workflow, N=10000",
    "the next N : the first N",
    "start to /readyz",
    "the same, 10 000 workflows open",
]


def results(samples: dict[str, list[float]] | None = None) -> Results:
    return Results(sizes=[200, 1000, 5000, 10_000], memory=10_000, postgres=500, samples=samples or {})


def goal(of: Results, what: str) -> Goal:
    return next(one for one in goals(of) if one.what == what)


def test_every_goal_is_in_the_table_and_what_was_not_measured_is_left_out() -> None:
    assert [one.what for one in goals(results())] == GOALS
    assert {one.verdict for one in goals(results())} == {"left out"}


def test_a_goal_that_needs_restate_says_why_it_was_left_out() -> None:
    of = results({"embedded resumes 1000": [1.0]})
    of.missing = {"restate suspended": "no npm", "restate kept": "no npm"}

    missing = [one for one in goals(of) if one.beside == "no npm"]

    assert [one.what for one in missing] == GOALS[:8]
    assert "left out  no npm" in table(of)


@pytest.mark.parametrize(
    ("what", "ours", "other", "met", "missed"),
    [
        (GOALS[0], "embedded resumes 1000", "restate suspended resumes 1000", 160, 159),
        (GOALS[3], "embedded resumes 5000", "restate kept resumes 5000", 80, 79),
        (GOALS[5], "embedded cpu 5000", "restate kept cpu 5000", 100, 101),
        (GOALS[6], "embedded starts 1000", "restate suspended starts 1000", 200, 199),
        (GOALS[8], "embedded resumes 10000", "embedded resumes 200", 80, 79),
        (GOALS[9], "postgres callbacks 500", "raw postgres callbacks 500", 170, 169),
        (GOALS[10], "postgres resumes 500", "raw postgres resumes 500", 120, 119),
        (GOALS[11], "forged", "bare", 60, 59),
        (GOALS[16], "memory suspended again", "memory suspended", 110, 111),
    ],
)
def test_a_goal_is_a_ratio_to_what_the_same_run_measured(
    what: str, ours: str, other: str, met: float, missed: float
) -> None:
    def verdict(value: float) -> str:
        return goal(results({ours: [value], other: [100.0]}), what).verdict

    assert (verdict(met), verdict(missed)) == ("met", "missed")


@pytest.mark.parametrize(
    ("what", "sample", "met", "missed"),
    [
        (GOALS[12], "embedded latency", 0.0025, 0.0026),
        (GOALS[13], "postgres latency", 0.012, 0.0121),
        (GOALS[14], "memory alone, busy", 80, 81),
        (GOALS[17], "start", 1.5, 1.6),
    ],
)
def test_a_goal_in_units_has_a_bound(what: str, sample: str, met: float, missed: float) -> None:
    verdicts = [goal(results({sample: [value]}), what).verdict for value in (met, missed)]

    assert verdicts == ["met", "missed"]


def test_memory_is_counted_for_each_workflow_and_a_restart_for_ten_thousand() -> None:
    of = results({"memory empty": [80.0], "memory suspended": [180.0], "start": [0.5], "restart": [2.5]})
    of.memory = 5000

    assert goal(of, "memory per workflow, N=5000").value == pytest.approx(100 * 2**20 / 1000 / 5000)
    assert goal(of, GOALS[18]).value == pytest.approx(4.5)


def test_a_ratio_is_the_median_of_the_ratios_of_the_repetitions() -> None:
    # The machine was three times slower in the second repetition: the ratio does not depend on it.
    one = goal(results({"forged": [60.0, 20.0, 69.0], "bare": [100.0, 33.3, 100.0]}), GOALS[11])

    assert one.value == pytest.approx(0.6, abs=0.01)
    assert one.spread == (0.6, 0.69)


def test_a_run_on_a_machine_that_was_busy_is_doubted() -> None:
    assert "varied by a factor of 2.0" in table(results({"bare": [50.0, 100.0]}))
    assert "only 40% of a core" in table(results({"share of a core": [1.0, 0.4]}))
    assert "Do not rely" not in table(results({"bare": [90.0, 100.0], "share of a core": [0.99, 1.0]}))


def test_the_systems_are_side_by_side_with_their_sizes() -> None:
    of = results(
        {
            "embedded resumes 200": [900.0, 1100.0],
            "embedded cpu 200": [1.25],
            "embedded latency": [0.002] * 99 + [0.009],
            "restate kept resumes 5000": [700.0],
            "restate kept memory 5000": [591.4],
        }
    )

    assert [tuple(filter(None, line)) for line in side_by_side(of)][1:3] == [
        ("Countersign, embedded", "200", "1 000", "900 to 1 100", "1.25 ms", "2.0 ms", "9.0 ms"),
        ("Restate, in memory", "5000", "700", "591 MiB"),
    ]


def test_a_page_of_a_list_is_shown_where_it_was_measured() -> None:
    measured = results({"embedded lists first": [0.002, 0.003, 0.004], "embedded lists deep": [0.005]})
    measured.lists = 100_000

    assert pages(measured)[1:] == [
        ("Countersign, embedded, the latest", "100 000", "3.0 ms", "4.0 ms"),
        ("Countersign, embedded, half way through", "100 000", "5.0 ms", "5.0 ms"),
    ]
    assert pages(results())[1:] == []
