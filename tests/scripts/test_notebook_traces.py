"""The notebook's work as a part of the workflow's trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.reporting import SETTLED, Receiver, Run

#: They start programs.
pytestmark = pytest.mark.slow

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
PROVIDER = """\
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    trace.set_tracer_provider(TracerProvider())
"""


def test_a_traced_run_belongs_to_the_trace_of_the_workflow_that_waits(
    receiver: Receiver, run: Run, working: Callable[[str], Path]
) -> None:
    receiver.answer((200, {"traceparent": TRACE}, "{}"), (200, {}, SETTLED))

    assert run(working("import os\nreturn os.environ['TRACEPARENT']"), COLLECTOR).code == 0

    asked, report = receiver.received
    assert (asked.path, asked.body, asked.headers["user-agent"]) == (report.path, b"", "countersign-notebook")
    assert (report.json, report.headers["traceparent"]) == (TRACE, TRACE)


def test_the_work_is_a_span_below_the_workflows_where_opentelemetry_is_set_up(
    receiver: Receiver, run: Run, working: Callable[[str], Path]
) -> None:
    receiver.answer((200, {"traceparent": TRACE}, "{}"), (200, {}, SETTLED))
    # As a cluster's start script would do.
    copy = working("from opentelemetry import trace\nreturn trace.get_current_span().get_span_context().span_id")
    before, start, after = copy.read_text().rpartition('if __name__ == "__main__":\n')
    copy.write_text(f"{before}{start}{PROVIDER}{after}")

    ran = run(copy, COLLECTOR)
    assert ran.code == 0, ran.output

    _, report = receiver.received
    _, trace_id, span_id, _ = report.headers["traceparent"].split("-")
    assert trace_id == TRACE.split("-")[1]
    assert span_id != TRACE.split("-")[2]
    assert report.json == int(span_id, 16)


@pytest.mark.parametrize(
    "answer",
    [(200, {}, "{}"), (200, {"traceparent": "00-xyz"}, "{}"), (404, {}, "{}"), (302, {"Location": "/a"}, "")],
)
def test_a_receiver_that_names_no_trace_gets_the_report_all_the_same(
    receiver: Receiver, run: Run, answer: tuple[int, dict[str, str], str]
) -> None:
    receiver.answer(answer, (200, {}, SETTLED))

    assert run(environment=COLLECTOR, rows=1).code == 0

    _, report = receiver.received
    assert "traceparent" not in report.headers
    assert report.json == {"rows": 1, "sum": 0}
