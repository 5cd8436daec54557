"""Access lines and metrics: routes, methods and statuses, and nothing that a caller sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from receiver.http.telemetry import Metrics, log_request, name_callback, name_caller, route_template

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


def test_two_sets_of_metrics_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.engine_error()

    assert b"countersign_engine_errors_total 0.0" in other.render()[0]
