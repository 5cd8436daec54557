"""The timeline page shows what happened, escaped and cut to length, and needs nothing but its own style."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.root_ids import RootName
from receiver.pages.timeline import MAX_STEPS, TimelineStep, TimelineView, render

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
HOSTILE = "</title></style></pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7*7 }}\u202e\x00&lt;"
STATES = ["running", "succeeded", "failed", "expired", "cancelled"]

_texts = st.text() | st.just(HOSTILE)
_times = st.none() | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)


def step(
    number: str = "1",
    name: str = "trigger",
    state: str = "succeeded",
    started_at: str | None = "2026-11-21T08:00:00.000Z",
    ended_at: str | None = "2026-11-21T08:15:00.000Z",
) -> TimelineStep:
    return TimelineStep(id=f"flow.one:{number}", name=name, state=state, started_at=started_at, ended_at=ended_at)


def page(
    *steps: TimelineStep,
    state: str = "succeeded",
    ended_at: str | None = "2026-11-21T08:30:00.000Z",
    result: str | None = None,
    error: str | None = None,
) -> str:
    view = TimelineView(
        workflow="flow",
        id="one",
        state=state,
        started_at="2026-11-21T08:00:00.000Z",
        ended_at=ended_at,
        result=result,
        error=error,
        steps=steps,
    )
    return render(view, "n0nce", organisation="Countersign", now=lambda: NOW)


class Page(HTMLParser):
    """What a browser sees: elements, attributes, and the text outside the style."""

    VOID = frozenset({"meta", "rect", "circle", "path"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for element, attributes in self.elements if element == name]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def test_it_says_what_ran_when_and_how_it_ended() -> None:
    text = Page(page(step(), step("2", "wait for job", "failed"), state="failed", error='{"message": "It died."}')).text

    for words in (
        "flow",
        "one",
        "failed",
        "21 Nov 2026, 08:00:00",
        "21 Nov 2026, 08:30:00",
        "Took 30 min",
        '"message": "It died."',
        "trigger 1",
        "wait for job 2",
        "+0 ms",
        "15 min",
        "As of 21 Nov 2026, 09:00:00",
    ):
        assert words in text


def test_it_links_the_workflow_that_a_step_runs_and_the_one_that_started_this() -> None:
    view = TimelineView(
        workflow="ship",
        id="42.1-ab",
        state="running",
        steps=(
            TimelineStep(
                id="ship.42.1-ab:1",
                name="pack",
                state="running",
                started_at=None,
                ended_at=None,
                child=RootName("pack", "7"),
            ),
        ),
        parent=RootName("order", "eu:42"),
    )
    shown = Page(render(view, "n0nce", organisation="Countersign", now=lambda: NOW))

    assert [link["href"] for link in shown.attributes("a")] == ["../order/eu%3A42", "../pack/7"]
    assert "Started by order.eu:42" in shown.text
    assert "runs pack.7" in shown.text


def test_each_bar_lies_where_the_step_lies_in_the_whole() -> None:
    html = page(
        step(),
        step("2", started_at="2026-11-21T08:15:00.000Z", ended_at="2026-11-21T08:30:00.000Z"),
        step("3", started_at="2026-11-21T08:30:00.000Z", ended_at="2026-11-21T08:30:00.001Z"),
        step("4", state="running", started_at="2026-11-21T08:07:30.000Z", ended_at=None),
    )
    bars = [bar for bar in Page(html).attributes("rect") if str(bar["class"]).startswith("run")]

    assert [(bar["x"], bar["width"]) for bar in bars] == [
        ("0.0", "500.0"),
        ("500.0", "500.0"),
        ("994.0", "6.0"),
        ("250.0", "750.0"),
    ]
    assert [bar["class"] for bar in bars] == ["run", "run", "run", "run open"]


def test_an_open_workflow_reaches_until_now() -> None:
    text = Page(page(step(ended_at=None, state="running"), state="running", ended_at=None)).text

    assert "Ended not yet" in text
    assert "Running for 1 h" in text


def test_deeper_steps_are_set_in() -> None:
    html = page(step("1"), step("1.1"), step("1.1.1"), step("1.1.1.1.1.1.1.1"))

    assert re.findall(r'<th scope="row"[^>]* class="(d\d)"', html) == ["d0", "d1", "d2", "d4"]


def test_a_step_of_another_lineage_keeps_its_whole_id() -> None:
    other = TimelineStep(id="flow.two:1", name="x", state="running", started_at=None, ended_at=None)

    assert "flow.two:1" in page(other)


def test_a_workflow_without_steps_says_so() -> None:
    assert "It had no durable steps." in page()
    assert "No step has begun yet." in page(state="running", ended_at=None)


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_told_in_words_and_not_by_colour_alone(state: str) -> None:
    text = Page(page(step(state=state, name="a"), state=state)).text

    assert text.count(state) == 3  # title, summary, step


def test_an_unknown_state_makes_no_class_of_its_own() -> None:
    assert "evil" not in page(step(state="evil"), state='evil" onload="x')


def test_the_table_is_one_for_a_screen_reader_on_every_screen() -> None:
    found = Page(page(step()))

    assert len(found.attributes("caption")) == 1
    assert [attributes["role"] for attributes in found.attributes("table")] == ["table"]
    assert all(cell.get("role") == "cell" for cell in found.attributes("td"))
    assert all(svg.get("aria-hidden") == "true" for svg in found.attributes("svg"))
    assert found.attributes("html") == [{"lang": "en"}]
    assert len(found.attributes("h1")) == 1


@given(st.tuples(_texts, _texts, st.sampled_from(STATES) | _texts, _texts), st.tuples(_times, _times))
def test_whatever_is_shown_is_text_and_nothing_else(
    texts: tuple[str, str, str, str], times: tuple[str | None, str | None]
) -> None:
    name, identity, state, body = texts
    started_at, ended_at = times
    hostile = TimelineStep(id=identity, name=name, state=state, started_at=started_at, ended_at=ended_at)
    view = TimelineView(
        workflow=name,
        id=identity,
        state=state,
        started_at=started_at,
        ended_at=ended_at,
        result=body,
        error=body,
        steps=(hostile,),
    )
    html = render(view, "n0nce", organisation="Countersign", now=lambda: NOW)
    found = Page(html)
    html.encode()

    assert not found.open
    assert {element for element, _ in found.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "div", "p", "svg", "circle", "path", "rect", "main", "h1"),
        *("section", "dl", "dt", "dd", "h2", "pre", "table", "caption", "thead", "tbody", "tr", "th", "td", "span"),
        *("time", "small", "header", "footer", "bdi"),
    }
    for _, attributes in found.elements:
        assert not any(attribute.startswith("on") or attribute in {"style", "href", "src"} for attribute in attributes)

    assert all(c.isprintable() or c == "\n" for c in html)


def test_a_hostile_text_is_shown_as_it_stands() -> None:
    html = page(step(name=HOSTILE), result=HOSTILE)

    assert "<script" not in html
    assert "49" not in Page(html).text.replace("{{ 7*7 }}", "")
    assert "<script>alert(1)</script>" in Page(html).text


def test_long_texts_are_cut() -> None:
    html = page(step(name="n" * 10_000), error='"' + "e" * 1_000_000 + '"')

    assert len(html) < 20_000
    assert "n…" in html
    assert "e…" in html


def test_many_steps_are_cut_and_counted() -> None:
    html = page(*(step(str(number)) for number in range(1, MAX_STEPS + 8)))

    assert len(Page(html).attributes("small")) == MAX_STEPS
    assert "7 further steps are not shown." in html


@pytest.mark.parametrize(
    ("ended_at", "shown"),
    [
        ("08:00:00.042Z", "42 ms"),
        ("08:00:05.250Z", "5.2 s"),
        ("08:02:05.000Z", "2 min 5 s"),
        ("08:02:00.000Z", "2 min"),
        ("11:04:30.000Z", "3 h 4 min"),
        ("07:00:00.000Z", "0 ms"),
    ],
)
def test_lengths_are_told_in_their_two_largest_units(ended_at: str, shown: str) -> None:
    assert f'class="took">{shown}</td>' in page(step(ended_at=f"2026-11-21T{ended_at}"))


def test_the_one_style_carries_the_nonce_and_loads_nothing() -> None:
    html = page(step())

    assert Page(html).attributes("style") == [{"nonce": "n0nce"}]
    assert "url(" not in html
    assert "@import" not in html
    assert "http" not in html
