"""Traces: one for each workflow, from its start over its steps and waits to its end, whatever process makes a span."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from resonate.error import Suspended
from support.edge import AUTHORISED, JSON, edge
from support.plant import pause, plant
from support.spans import Spans, ids

from orchestrator import Context, WorkflowFailed, group_step, open_callback, step, workflow
from orchestrator.tracing import Tracing, is_wanted, one_traceparent, trace_of

if TYPE_CHECKING:
    from pathlib import Path

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = "a-body-that-no-span-may-hold"


class Said(BaseModel):
    text: str = BODY


@step(tries=2)
async def charge(ctx: Context, text: str) -> str:
    return text


@step(tries=1)
async def refuse(ctx: Context, text: str) -> None:
    raise ValueError(text)


@group_step("db")
async def look_up(ctx: Context, text: str) -> str:
    return text


@workflow(name="traced")
async def traced(ctx: Context, request: Said) -> str:
    await ctx.run(charge, request.text)
    await ctx.call(look_up, request.text)
    callback = await open_callback(ctx, "answer", deadline=timedelta(days=1))
    outcome = await callback
    await ctx.run(charge, request.text)
    return outcome.kind


@workflow(name="breaking")
async def breaking(ctx: Context, request: Said) -> None:
    try:
        await ctx.run(refuse, request.text)
    finally:
        raise WorkflowFailed(request.text)


async def test_a_workflow_is_one_trace_on_every_engine(tmp_path: Path, engine_url: str) -> None:
    spans = Spans()

    async with plant(tmp_path, engine_url, traced) as here:
        here.engine.tracing = spans.tracing
        await here.start("a:b")

        if here.engine.embedded:
            await here.opened("traced.a;b:3")
            await here.answer("traced.a;b:3", name="answer")
            assert await here.ended("a;b") == ("succeeded", "succeeded")
            await spans_of(spans, "workflow traced")
            assert spans.names() == ["start traced", *["step charge"] * 2, "step look_up", "workflow traced"]
        else:  # no worker of the group `db` runs
            await here.opened("traced.a;b:2")
            assert spans.names() == ["start traced", "step charge"]

    start = spans.named("start traced")
    assert {ids(span)[0] for span in spans.all()} == {ids(start)[0]}
    assert {span.parent.span_id for span in spans.all() if span.parent} == {ids(start)[1]}
    assert start.parent is None
    assert dict(start.attributes or {}) == {"countersign.workflow": "traced", "countersign.id": "a:b"}
    assert BODY not in spans.text()


async def spans_of(spans: Spans, name: str) -> None:
    for _ in range(500):
        if name in spans.names():
            return

        await pause(0.02)

    raise AssertionError(spans.names())


async def test_the_trace_goes_on_after_a_crash_and_a_replayed_step_gives_no_second_span(tmp_path: Path) -> None:
    before, after = Spans(), Spans()
    url = f"sqlite:///{tmp_path}/engine.db"

    async with plant(tmp_path, url, traced) as here:
        here.engine.tracing = before.tracing
        await here.start("1")
        await here.opened("traced.1:3")

    async with plant(tmp_path, url, traced, working=False) as here:
        here.engine.tracing = after.tracing
        here.engine.start()
        await here.answer("traced.1:3", name="answer")
        await here.ended("1")
        await spans_of(after, "workflow traced")

    assert before.names() == ["start traced", "step charge", "step look_up"]
    assert after.names() == ["step charge", "workflow traced"]
    assert {ids(span)[0] for span in after.all()} == {ids(before.named("start traced"))[0]}
    ended = after.named("workflow traced")
    assert ended.start_time is not None
    assert ended.end_time is not None
    # The span of a workflow is told by its record, to the millisecond.
    assert ended.start_time < (after.named("step charge").start_time or 0) < ended.end_time + 1_000_000


async def test_failures_are_marked_and_quote_nothing(tmp_path: Path) -> None:
    spans = Spans()

    async with plant(tmp_path, "memory://", breaking) as here:
        here.engine.tracing = spans.tracing
        await here.start("1")
        await here.ended("1")
        await spans_of(spans, "workflow breaking")

    failed = spans.named("step refuse")
    assert not failed.status.is_ok
    assert [event.name for event in failed.events] == ["try failed"]
    assert dict(failed.events[0].attributes or {})["error"] == "ValueError"
    assert not spans.named("workflow breaking").status.is_ok
    assert BODY not in spans.text()


async def test_a_second_start_gives_no_span(tmp_path: Path) -> None:
    spans = Spans()

    async with edge(tmp_path) as here:
        here.engine.tracing = spans.tracing

        for _ in range(3):
            await here.client.put("/workflows/ask/1", json={}, headers=AUTHORISED)

        await here.token()

    assert spans.names().count("start ask") == 1


async def test_a_client_s_trace_goes_on_and_the_job_s_is_linked(tmp_path: Path) -> None:
    spans = Spans()

    async with edge(tmp_path) as here:
        here.engine.tracing = spans.tracing
        await here.client.put("/workflows/ask/1", json={}, headers=AUTHORISED | {"traceparent": PARENT})
        token = await here.token()
        seen = await here.client.get(f"/callbacks/{token}")
        theirs = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
        await here.client.post(f"/callbacks/{token}", content="1", headers=JSON | {"traceparent": theirs})
        await here.ended()
        await spans_of(spans, "workflow ask")

    wait = spans.named("wait answer")
    assert spans.names() == ["start ask", "step hand_out", "wait answer", "workflow ask"]
    assert {ids(span)[0] for span in spans.all()} == {0x0AF7651916CD43DD8448EB211C80319C}
    assert seen.headers["traceparent"].split("-")[1:3] == [
        PARENT.split("-")[1],
        f"{ids(spans.named('start ask'))[1]:016x}",
    ]
    assert [(link.context.trace_id, link.context.span_id) for link in wait.links] == [
        (0xAB * int("01" * 16, 16), 0xCD * int("01" * 8, 16))
    ]
    assert dict(wait.attributes or {})["countersign.outcome"] == "succeeded"
    assert token not in spans.text()


@pytest.mark.parametrize(
    "values",
    [
        [PARENT, PARENT],
        [""],
        ["00-" + "0" * 32 + "-b7ad6b7169203331-01"],
        ["00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01"],
        [PARENT.upper()],
        [f"{PARENT}\n"],
        [f" {PARENT}"],
        [f"{PARENT}-extra"],
        [PARENT.replace("00-", "ff-", 1)],
        ["x" * 100_000],
    ],
)
async def test_a_hostile_traceparent_changes_nothing(tmp_path: Path, values: list[str]) -> None:
    assert one_traceparent(values) is None

    spans = Spans()

    async with edge(tmp_path) as here:
        here.engine.tracing = spans.tracing
        token = await here.asked()
        raw = [(b"content-type", b"application/json"), *((b"traceparent", value[:9000].encode()) for value in values)]
        answer = await here.client.post(f"/callbacks/{token}", content=b"1", headers=raw)

    assert answer.status_code == 200
    assert spans.named("wait answer").links == ()


@given(st.text())
def test_a_text_is_a_traceparent_only_in_its_own_form(text: str) -> None:
    assert one_traceparent([text]) is None
    assert trace_of({"trace": text}) is None


@pytest.mark.parametrize("stored", [None, [], {}, {"trace": None}, {"trace": 7}, {"trace": f"{PARENT}x"}])
def test_what_is_stored_in_another_form_is_no_trace(stored: object) -> None:
    assert trace_of(stored) is None
    assert trace_of({"trace": PARENT}) == PARENT


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, False),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
    ],
)
def test_only_the_standard_variables_switch_it_on(variables: dict[str, str], wanted: bool) -> None:  # noqa: FBT001
    assert is_wanted(variables) is wanted


@pytest.mark.slow
def test_without_the_extra_nothing_happens() -> None:
    program = (
        "import sys\nsys.modules['opentelemetry'] = sys.modules['opentelemetry.sdk'] = None\n"
        "from orchestrator.tracing import Tracing\n"
        "tracing = Tracing.configured(wanted=True)\n"
        "with tracing.within('00-x'), tracing.step('a', {}):\n"
        "    print(tracing.on, tracing.start('a', {}).traceparent)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout == "False None\n"


async def test_while_it_is_off_nothing_is_stored_and_nothing_is_made(tmp_path: Path) -> None:
    async with edge(tmp_path) as here:
        await here.client.put("/workflows/ask/1", json={}, headers=AUTHORISED | {"traceparent": PARENT})
        record = await here.engine.promises.get("ask.1")
        seen = await here.client.get(f"/callbacks/{await here.token()}")

    assert not here.engine.tracing.on
    stored: Any = record.param.data
    assert "trace" not in stored["args"][0]
    assert "traceparent" not in seen.headers


def test_a_step_that_is_suspended_gives_no_span() -> None:
    spans = Spans()

    with spans.tracing.within(PARENT), pytest.raises(Suspended), spans.tracing.step("step a", {}):
        raise Suspended

    assert spans.names() == []


def test_a_step_outside_of_any_trace_gives_no_span() -> None:
    spans = Spans()

    with spans.tracing.step("step a", {}):
        pass

    assert spans.names() == []


async def test_the_last_spans_do_not_hold_up_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        def get_tracer(self, _: str) -> None:
            return None

        def force_flush(self, _: int) -> None:
            threading.Event().wait(5)

    monkeypatch.setattr("orchestrator.tracing._FLUSH", 0.05)
    stuck: Any = Stuck()
    await Tracing(stuck).close()
