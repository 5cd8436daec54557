"""How long the notebook keeps trying to report, and when it stops."""

from __future__ import annotations

import json
import socket
import time

import notebook
import pytest
from support.reporting import SETTLED, TOKEN, Receiver, Run

#: They start programs.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_temporary_failure_is_retried_with_the_same_report(receiver: Receiver, run: Run, status: int) -> None:
    receiver.answer((status, {}, ""), (status, {}, "{"), (200, {}, SETTLED))

    assert run().code == 0
    assert len(receiver.received) == 3
    assert len({report.body for report in receiver.received}) == 1


@pytest.mark.parametrize("page", ["<html>sign in</html>", "{}", "[]", '{"state": "pending"}', ""])
def test_a_200_without_a_receipt_is_retried(receiver: Receiver, run: Run, page: str) -> None:
    receiver.answer((200, {}, page), (200, {}, SETTLED))

    assert run().code == 0
    assert len(receiver.received) == 2


def test_an_unreachable_receiver_is_retried_until_the_time_is_up(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    ran = run(callback_url=f"http://127.0.0.1:{port}/callbacks/{TOKEN}", callback_timeout=3, callback_delay=0.01)

    assert ran.code != 0
    assert ran.output.count("not reported yet: ConnectionRefusedError") > 1
    assert f"gave up reporting to http://127.0.0.1:{port}/****" in ran.output


def test_a_report_whose_response_was_lost_is_sent_again(receiver: Receiver, run: Run) -> None:
    # A response that is cut off in the middle, after the report took effect.
    receiver.answer((200, {"Transfer-Encoding": "chunked"}, "ff\r\n{"), (200, {}, SETTLED))

    assert run().code == 0
    assert len(receiver.received) == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (None, 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("٣", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_a_retry_after_is_read_as_seconds(header: str | None, seconds: float) -> None:
    assert notebook._seconds(header) == seconds


def test_a_retry_after_given_as_a_date_is_the_time_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_445_412_470.0)

    assert notebook._seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 10.0


def test_a_retry_after_is_honoured(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    receiver.answer((503, {"Retry-After": "17"}, ""), (503, {}, ""), (200, {}, SETTLED))

    notebook.Callback(receiver.url, delay=0.01).succeeded(b"1")

    assert slept[0] == 17
    assert slept[1] < 1


def test_the_pauses_grow_up_to_a_minute(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    receiver.answer(*[(503, {}, "")] * 9, (200, {}, SETTLED))

    notebook.Callback(receiver.url).succeeded(b"1")

    assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(slept[:6]))
    assert all(30 <= pause <= 60 for pause in slept[6:])


def test_a_retry_after_beyond_the_time_given_ends_it_at_once(receiver: Receiver, run: Run) -> None:
    receiver.answer((503, {"Retry-After": "3600"}, ""))

    ran = run()

    assert ran.code != 0
    assert "gave up" in ran.output
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("status", "name", "meaning"),
    [
        (400, "malformed-body", "malformed-body"),
        (401, "invalid-token", "not accepted"),
        (404, "unknown-promise", "nobody waits"),
        (409, "already-settled", "somebody else"),
        (410, "expired", "the wait is over"),
        (413, "too-large", "too large"),
        (422, "ikey-reused", "another outcome"),
    ],
)
def test_a_refusal_ends_it_at_once_and_fails_the_run(
    receiver: Receiver, run: Run, status: int, name: str, meaning: str
) -> None:
    receiver.answer((status, {}, json.dumps({"type": f"urn:countersign:{name}", "detail": TOKEN})))

    ran = run()

    assert ran.code != 0
    assert len(receiver.received) == 1
    assert f"{status} ({name})" in ran.output
    assert meaning in ran.output


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, run: Run, status: int) -> None:
    receiver.answer((status, {"Location": "/elsewhere"}, ""))

    ran = run()

    assert ran.code != 0
    assert [report.path for report in receiver.received] == [f"/base/callbacks/{TOKEN}"]
    assert f"refused the report with {status}" in ran.output


@pytest.mark.parametrize(
    "url",
    [
        "",
        "callbacks",
        f"ftp://127.0.0.1/{TOKEN}",
        f"file:///etc/{TOKEN}",
        f"http://example.com/callbacks/{TOKEN}",
        f"http://127.0.0.1.example.com/callbacks/{TOKEN}",
        f"https://user:pass@example.com/{TOKEN}",
        f"https://example.com/callbacks/{TOKEN}?x=1",
        f"https://example.com/callbacks/{TOKEN}#x",
        f"https://example.com:x/callbacks/{TOKEN}",
        f"https://[::1/callbacks/{TOKEN}",
        f"https://example.com/callbacks/{TOKEN} x",
    ],
)
def test_an_address_that_is_invalid_or_would_leak_the_token_stops_the_run_before_it_works(
    receiver: Receiver, run: Run, url: str
) -> None:
    ran = run(callback_url=url, fail="worked")

    assert ran.code != 0
    assert "ReportFailed: callback_url" in ran.output
    assert receiver.received == []
    assert "RuntimeError" not in ran.output


@pytest.mark.parametrize("setting", [{"callback_timeout": "nan"}, {"callback_timeout": -1}, {"callback_delay": "inf"}])
def test_a_time_without_end_stops_the_run_before_it_works(
    receiver: Receiver, run: Run, setting: dict[str, str]
) -> None:
    assert "out of range" in run(**setting).output
    assert receiver.received == []


def test_an_untrusted_certificate_is_not_accepted(tls_url: str, run: Run) -> None:
    ran = run(callback_url=f"{tls_url}/callbacks/{TOKEN}")

    assert ran.code != 0
    assert "no certificate trusted here" in ran.output
