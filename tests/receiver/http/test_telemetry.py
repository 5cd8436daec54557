"""Access lines and metrics: routes, methods and statuses, and nothing that a caller sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.counts import Counts
from orchestrator.engine.open_waits import OpenWaits
from receiver.http.telemetry import (
    Metrics,
    WorkMetrics,
    log_refusal,
    log_request,
    name_callback,
    name_caller,
    route_template,
)

if TYPE_CHECKING:
    from conftest import Start
    from starlette.types import Scope

TOKEN = "eyJ2IjoxLCJwIjoicGlwZWxpbmUuMTox.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"


def scope_of(method: str = "GET", **rest: Any) -> Scope:
    return {"type": "http", "method": method, "path": f"/callbacks/{TOKEN}", **rest}


def test_the_access_line_names_the_route_and_the_callback_and_never_the_path(start: Start) -> None:
    stream = start("debug")
    scope = scope_of("POST")
    scope["client"] = ("192.0.2.1", 4711)
    name_callback(scope, "pipeline.7:1", "job")
    log_request(scope, "/callbacks/{token}", 200, 0.00123)
    log_request(scope_of("BREW\n"), "unmatched", 404, 1)

    first, second = stream.getvalue().splitlines()
    assert first.endswith(
        " INFO receiver.access POST /callbacks/{token} 200 1.2ms promise=pipeline.7:1 callback=job client=192.0.2.1"
    )
    assert second.endswith(" INFO receiver.access other unmatched 404 1000.0ms client=-")
    assert TOKEN not in stream.getvalue()


def test_in_json_what_the_access_line_says_are_fields_too(start: Start) -> None:
    stream = start("info", "json")
    scope = scope_of(client=("2001:db8::1", 1))
    name_caller(scope, "nightly")
    log_request(scope, "/workflows/{name}/{id}", 403, 0.00123)
    entry = json.loads(stream.getvalue())

    assert entry.pop("time")
    assert entry == {
        "level": "INFO",
        "logger": "receiver.access",
        "message": "GET /workflows/{name}/{id} 403 1.2ms by=nightly client=2001:db8::1",
        "method": "GET",
        "route": "/workflows/{name}/{id}",
        "status": 403,
        "ms": 1.2,
        "by": "nightly",
        "client": "2001:db8::1",
    }


def test_the_line_of_what_was_no_request_says_why_it_was_refused(start: Start) -> None:
    stream = start("info", "json")
    log_refusal(("192.0.2.1", 4711), 400, "a header is malformed")
    entry = json.loads(stream.getvalue())

    assert entry.pop("time")
    assert entry == {
        "level": "INFO",
        "logger": "receiver.access",
        "message": "other unmatched 400 client=192.0.2.1: a header is malformed",
        "method": "other",
        "route": "unmatched",
        "status": 400,
        "client": "192.0.2.1",
        "error": "a header is malformed",
    }


def test_a_flood_of_bad_tokens_does_not_fill_the_log(start: Start) -> None:
    stream = start("info")
    log_request(scope_of(), "/callbacks", 429, 0.001)

    assert stream.getvalue() == ""


def test_a_request_that_matched_no_route_has_no_template() -> None:
    assert route_template(scope_of()) == "unmatched"


def test_metrics_count_by_fixed_labels() -> None:
    metrics = Metrics()
    metrics.request("/callbacks/{token}", "POST", 200, 0.003)
    metrics.request("/callbacks/{token}", "POST", 200, 0.3)
    for method in ("BREW", "X" * 1000, "get"):
        metrics.request("unmatched", method, 404, 0.003)

    metrics.callback("applied")
    metrics.callback("applied")
    metrics.callback("refused")
    metrics.engine_error()
    data, content_type = metrics.render()
    lines = data.decode().splitlines()

    assert content_type.startswith("text/plain; version=")
    assert 'countersign_request_seconds_count{method="POST",route="/callbacks/{token}",status="200"} 2.0' in lines
    assert 'countersign_request_seconds_count{method="other",route="unmatched",status="404"} 3.0' in lines
    assert 'countersign_callbacks_total{outcome="applied"} 2.0' in lines
    assert 'countersign_callbacks_total{outcome="refused"} 1.0' in lines
    assert "countersign_engine_errors_total 1.0" in lines


def test_every_outcome_is_there_from_the_start() -> None:
    text = Metrics().render()[0].decode()

    for outcome in ("applied", "duplicate", "ikey_reused", "other", "closed", "refused"):
        assert f'countersign_callbacks_total{{outcome="{outcome}"}} 0.0' in text


def work(*, works: bool) -> tuple[Counts, Metrics]:
    counts = Counts()

    return counts, Metrics(WorkMetrics(counts, ["ask"], works=works, clock=lambda: 100.0))


def test_what_workflows_do_is_counted_by_names_and_states_and_is_zero_before_it_happens() -> None:
    counts, metrics = work(works=True)
    counts.add("workflows_started", "ask")
    counts.add("workflows_ended", "ask", "failed")
    counts.add("step_failures", "charge")
    counts.add("mails", "refused")
    counts.add("databricks_calls", "trigger", "ok")
    lines = metrics.render()[0].decode().splitlines()

    for line in (
        'countersign_workflows_started_total{workflow="ask"} 1.0',
        'countersign_workflows_ended_total{state="failed",workflow="ask"} 1.0',
        'countersign_workflows_ended_total{state="succeeded",workflow="ask"} 0.0',
        'countersign_step_failures_total{step="charge"} 1.0',
        'countersign_mails_total{result="refused"} 1.0',
        'countersign_mails_total{result="ok"} 0.0',
        'countersign_databricks_calls_total{call="trigger",result="ok"} 1.0',
        'countersign_databricks_calls_total{call="cancel",result="unavailable"} 0.0',
        'countersign_model_calls_total{result="ok"} 0.0',
    ):
        assert line in lines


def test_what_other_processes_do_is_absent_and_never_zero() -> None:
    counts, metrics = work(works=False)
    counts.add("workflows_started", "ask")
    text = metrics.render()[0].decode()

    assert 'countersign_workflows_started_total{workflow="ask"} 1.0' in text

    for absent in (
        "workflows_ended",
        "step_failures",
        "mails",
        "databricks_calls",
        "cached",
        "open_waits",
        "oldest_wait",
    ):
        assert f"countersign_{absent}" not in text


def test_open_waits_are_shown_where_they_are_known() -> None:
    _, metrics = work(works=True)

    lines = metrics.render(OpenWaits(count=3, oldest_at=40_000))[0].decode().splitlines()
    assert "countersign_open_waits 3.0" in lines
    assert "countersign_oldest_wait_seconds 60.0" in lines

    lines = metrics.render(OpenWaits(count=0, oldest_at=None))[0].decode().splitlines()
    assert "countersign_open_waits 0.0" in lines
    assert "countersign_oldest_wait_seconds 0.0" in lines
    assert "countersign_open_waits" not in metrics.render()[0].decode()


def test_workflows_that_wait_in_memory_are_counted() -> None:
    waiting = ["a"]
    metrics = Metrics(WorkMetrics(Counts(), ["ask"], works=True, cached=waiting))
    assert "countersign_cached_workflows 1.0" in metrics.render()[0].decode().splitlines()

    waiting.append("b")
    assert "countersign_cached_workflows 2.0" in metrics.render()[0].decode().splitlines()


def test_two_sets_of_metrics_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.engine_error()

    assert b"countersign_engine_errors_total 0.0" in other.render()[0]
