"""The notebook, run as a process of its own against a small server that records the requests.

Long because the notebook is one file, and all of these tests need the same server and the same way to run it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import notebook
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook

from orchestrator.config.secret import Secret
from receiver.surfaces.caller_proof import Kind, verify_proof

#: They start programs.
pytestmark = pytest.mark.slow

NOTEBOOK = Path(notebook.__file__)
TOKEN = "eyJwIjoicGlwZWxpbmUuMToxIn0.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
SETTLED = json.dumps({"state": "settled", "duplicate": False})
PROOF = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Sends the given responses one after another, and repeats the last one."""

    port: int = 0
    answers: list[tuple[int, dict[str, str], str]] = field(default_factory=lambda: [(200, {}, SETTLED)])
    received: list[Received] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/base/callbacks/{TOKEN}"

    def answer(self, *answers: tuple[int, dict[str, str], str]) -> None:
        self.answers = [*answers]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            kept.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, headers, text = kept.answers.pop(0) if len(kept.answers) > 1 else kept.answers[0]
            self.send_response(status)

            for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
                self.send_header(name, value)

            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST  # noqa: N815 - the name that the library looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    """The address of a server with a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()

                    with connection, contextlib.suppress(OSError):
                        context.wrap_socket(connection, server_side=True).close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Ran:
    code: int
    output: str


Run = Callable[..., Ran]


@pytest.fixture
def run(receiver: Receiver) -> Run:
    def run(
        source: Path = NOTEBOOK,
        environment: dict[str, str] | None = None,
        *,
        careless: bool = False,
        **parameters: object,
    ) -> Ran:
        given = {"callback_url": receiver.url, "callback_delay": 0.001, "callback_timeout": 30, **parameters}
        variables = {f"COUNTERSIGN_PARAM_{name.upper()}": str(value) for name, value in given.items()}
        process = subprocess.run(
            [sys.executable, "-W", "error", source],
            env={"PATH": os.environ["PATH"], **(environment or {}), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        assert careless or TOKEN.partition(".")[0] not in process.stdout
        return Ran(process.returncode, process.stdout)

    return run


@pytest.fixture
def working(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the notebook with this code as its work, as a user would edit it."""

    def edited(code: str) -> Path:
        before, _, rest = NOTEBOOK.read_text().partition("# vvvv")
        _, _, after = rest.partition("# ^^^^")
        work = "def work(parameters):\n" + "\n".join(f"    {line}" for line in code.splitlines())
        copy = tmp_path / "edited.py"
        copy.write_text(f"{before}# vvvv\n{work}\n\n# ^^^^{after}")
        return copy

    return edited


# Traces

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


# Reporting


def test_the_result_is_posted_as_json(receiver: Receiver, run: Run) -> None:
    assert run(rows=4).code == 0

    (report,) = receiver.received
    assert report.path == f"/base/callbacks/{TOKEN}"
    assert report.headers["content-type"] == "application/json"
    assert report.json == {"rows": 4, "sum": 14}


def test_parameters_are_taken_from_arguments_too(receiver: Receiver) -> None:
    arguments = [f"callback_url={receiver.url}", "rows=1"]

    subprocess.run([sys.executable, NOTEBOOK, *arguments], env={}, check=True, capture_output=True, timeout=60)

    assert receiver.received[0].json == {"rows": 1, "sum": 0}


def test_a_repetition_of_what_is_recorded_is_success(receiver: Receiver, run: Run) -> None:
    receiver.answer((200, {}, json.dumps({"state": "settled", "duplicate": True})))

    assert run().code == 0


def test_no_idempotency_key_is_sent_so_that_the_receiver_derives_it(receiver: Receiver, run: Run) -> None:
    run()

    assert "idempotency-key" not in receiver.received[0].headers


def test_an_exception_is_reported_with_where_it_was_raised_and_fails_the_run(receiver: Receiver, run: Run) -> None:
    ran = run(fail="the table is empty")

    (report,) = receiver.received
    assert ran.code != 0
    assert "RuntimeError: the table is empty" in ran.output
    assert report.path == f"/base/callbacks/{TOKEN}/failure"
    assert isinstance(report.json, dict)
    assert report.json["message"] == "RuntimeError: the table is empty"
    assert report.json["details"]["exception"] == "RuntimeError"
    assert "in work" in report.json["details"]["traceback"]


def test_a_failure_report_contains_no_variables_and_no_token(
    receiver: Receiver, run: Run, working: Callable[[str], Path]
) -> None:
    # The code is quoted, so it must not contain the value.
    source = working('password = "hun" + "ter2"\nraise RuntimeError("cannot reach " + parameter("callback_url"))')

    run(source, careless=True)

    (report,) = receiver.received
    assert b"cannot reach http://127.0.0.1" in report.body
    assert b"hunter2" not in report.body
    assert TOKEN.encode() not in report.body


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ('return "x" * 65_535', "65537 bytes"),
        ("return {1, 2}", "not JSON serializable"),
        ('return float("nan")', "not JSON compliant"),
        (r'return "\ud800"', "surrogates"),
        ("deep = []\nfor _ in range(100_000): deep = [deep]\nreturn deep", "nested too deeply"),
    ],
)
def test_a_result_that_cannot_be_sent_is_reported_as_a_failure(
    receiver: Receiver, run: Run, working: Callable[[str], Path], code: str, message: str
) -> None:
    assert run(working(code)).code != 0

    (report,) = receiver.received
    assert report.path.endswith("/failure")
    assert isinstance(report.json, dict)
    assert message in report.json["message"]


def test_the_largest_result_that_fits_is_sent(receiver: Receiver, run: Run, working: Callable[[str], Path]) -> None:
    assert run(working('return "x" * 65_534')).code == 0
    assert len(receiver.received[0].body) == 65_536


def test_the_failure_of_the_work_is_shown_even_when_reporting_it_fails(receiver: Receiver, run: Run) -> None:
    receiver.answer((410, {}, "{}"))

    ran = run(fail="the table is empty")

    assert ran.code != 0
    assert "RuntimeError: the table is empty" in ran.output
    assert "the failure could not be reported" in ran.output


# Trying again


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


# Stopping


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


# Proof of the caller


SCOPE = {"proof_scope": "jobs", "proof_key": "caller", "proof_origin": "receiver"}


def secrets_of(origin: str, caller: str = PROOF) -> dict[str, str]:
    """Return the secret scope `jobs` as environment variables, for a notebook outside Databricks."""
    return {"COUNTERSIGN_SECRET_JOBS_CALLER": caller, "COUNTERSIGN_SECRET_JOBS_RECEIVER": origin}


def check_proof(report: Received, kind: str) -> None:
    """Check the signature with the official library, and the form of the id."""
    Webhook(PROOF).verify(report.body, report.headers)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()[:32]
    assert re.fullmatch(rf"{kind}_{digest}_[A-Za-z0-9_-]{{16,64}}", report.headers["webhook-id"])


def test_the_proof_verifies_with_the_official_library_and_is_made_anew_for_every_try(
    receiver: Receiver, run: Run
) -> None:
    receiver.answer((503, {"Retry-After": "1"}, ""), (200, {}, SETTLED))

    ran = run(environment=secrets_of(receiver.origin), **SCOPE)

    assert ran.code == 0
    first, second = receiver.received

    for report in (first, second):
        check_proof(report, "succeeded")

    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]


def test_a_failure_is_signed_as_a_failure(receiver: Receiver, run: Run) -> None:
    run(environment=secrets_of(receiver.origin), fail="no", **SCOPE)

    (report,) = receiver.received
    assert report.path.endswith("/failure")
    check_proof(report, "failed")


def test_the_receiver_takes_the_proof(receiver: Receiver, run: Run) -> None:
    run(environment=secrets_of(receiver.origin), **SCOPE)
    run(environment=secrets_of(receiver.origin), fail="no", **SCOPE)
    key = [Secret(base64.b64decode(PROOF.removeprefix("whsec_")))]
    kinds: tuple[Kind, ...] = ("succeeded", "failed")

    for report, kind in zip(receiver.received, kinds, strict=True):
        headers = [(name.encode(), value.encode()) for name, value in report.headers.items()]
        verify_proof(key, headers, report.body, kind=kind, token=TOKEN)


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "\n {}\t"])
def test_white_space_around_a_secret_is_ignored(receiver: Receiver, run: Run, around: str) -> None:
    environment = secrets_of(around.format(receiver.origin), around.format(PROOF))

    assert run(environment=environment, **SCOPE).code == 0
    check_proof(receiver.received[0], "succeeded")


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://127.0.0.1", "https://127.0.0.1:{port}"])
def test_a_report_is_neither_signed_nor_sent_for_another_receiver(receiver: Receiver, run: Run, origin: str) -> None:
    ran = run(environment=secrets_of(origin.format(port=receiver.port)), fail="worked", **SCOPE)

    assert ran.code != 0
    assert "is not the receiver that proof_origin names" in ran.output
    assert "RuntimeError" not in ran.output
    assert receiver.received == []


def test_a_redirect_to_another_receiver_carries_neither_proof_nor_token(
    receiver: Receiver, run: Run, tls_url: str
) -> None:
    receiver.answer((302, {"Location": f"{tls_url}/"}, ""))

    ran = run(environment=secrets_of(receiver.origin), **SCOPE)

    assert "refused the report with 302" in ran.output
    assert len(receiver.received) == 1


@pytest.mark.parametrize("missing", SCOPE)
def test_without_all_of_its_parameters_nothing_is_signed_and_nothing_is_sent(
    receiver: Receiver, run: Run, missing: str
) -> None:
    ran = run(environment=secrets_of(receiver.origin), **(SCOPE | {missing: ""}))

    assert ran.code != 0
    assert f"the parameter {missing} is missing" in ran.output
    assert receiver.received == []


@pytest.mark.parametrize("key", ["CALLER", "RECEIVER"])
def test_the_error_says_why_a_secret_is_missing(receiver: Receiver, run: Run, key: str) -> None:
    name = f"COUNTERSIGN_SECRET_JOBS_{key}"
    good = secrets_of(receiver.origin)
    absent, empty, malformed = (
        run(environment=environment, **SCOPE).output
        for environment in (
            {variable: value for variable, value in good.items() if variable != name},
            good | {name: " \n"},
            good | {name: "nonsense"},
        )
    )

    assert f"the secret '{key.lower()}' of the scope 'jobs' is missing: {name} is not set" in absent
    assert f"the secret '{key.lower()}' of the scope 'jobs' is empty" in empty
    assert f"the secret '{key.lower()}' of the scope 'jobs', which proof_" in malformed
    assert "is malformed" in malformed
    assert receiver.received == []


@pytest.mark.parametrize(
    "secret",
    ["whsec_", "whsec_!!!!", PROOF.removeprefix("whsec_"), f"whsec_{PROOF}", PROOF[:-4], f"{PROOF} {PROOF}"],
)
def test_an_invalid_secret_stops_the_run_without_being_shown(receiver: Receiver, run: Run, secret: str) -> None:
    ran = run(environment=secrets_of(receiver.origin, secret), **SCOPE)

    assert ran.code != 0
    assert "which proof_key names, is malformed" in ran.output
    assert "MfKQ9r8" not in ran.output
    assert receiver.received == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://callbacks.example.org", "https://callbacks.example.org:443/base/callbacks/x"),
        ("HTTPS://Callbacks.Example.Org/", "https://callbacks.example.org/callbacks/x"),
        ("http://localhost:80", "http://localhost/x"),
        ("https://[2001:DB8:0::1]", "https://[2001:db8::1]:443/x"),
        ("https://callbacks.example.org/base/", "https://callbacks.example.org/x"),
        ("https://callbacks.example.org:8443", "https://callbacks.example.org:08443/x"),
    ],
)
def test_two_spellings_of_an_origin_are_equal(one: str, other: str) -> None:
    assert notebook.origin(one) == notebook.origin(other)


@pytest.mark.parametrize(
    "other",
    [
        "http://callbacks.example.org",
        "https://callbacks.example.org:8443",
        "https://callbacks.example.org.evil.example",
        "https://evil.example/callbacks.example.org",
        "https://evil.example?https://callbacks.example.org",
        "https://evil.example#@callbacks.example.org",
        "https://callbacks.example.org.",
        "https://callbacks%2eexample.org",
        "https://callbacks.example.org\\.evil.example",
        "https://callbacks.example.org;.evil.example",
    ],
)
def test_another_origin_is_different_however_it_is_spelt(other: str) -> None:
    assert notebook.origin(other) != notebook.origin("https://callbacks.example.org")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "callbacks.example.org",
        "ftp://callbacks.example.org",
        "https://",
        "https://user@callbacks.example.org",
        "https://callbacks.example.org@evil.example",
        "https://evil.example\\@callbacks.example.org",
        "https://callbacks.example.org:0",
        "https://callbacks.example.org:99999",
        "https://callbacks.example.org:x",
        "https://callbacks.exämple.org",
        "https://[::1",
        "https://callbacks.example.org https://evil.example",
    ],
)
def test_an_invalid_origin_is_refused(address: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own for some of them
        notebook.origin(address)


# In Databricks


class Widgets:
    """Does what dbutils.widgets does in a job: a new widget takes the job parameter's value."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given
        self.made: dict[str, str] = {}

    def text(self, name: str, default: str) -> None:
        self.made[name] = self.given.get(name, default)

    def get(self, name: str) -> str:
        return self.made[name]


@dataclass(frozen=True)
class Metadata:
    key: str


class Secrets:
    """Does what dbutils.secrets does: a scope may be missing or unreadable, and the errors say little."""

    def __init__(self, origin: str) -> None:
        self.readable = {"jobs": {"caller": PROOF + "\n", "receiver": origin + "\n", "hidden": None}}

    def get(self, scope: str, key: str) -> str:
        value = self.readable.get(scope, {}).get(key)

        if value is None:
            raise RuntimeError(f"Secret does not exist with scope: {scope} and key: {key}")

        return value

    def list(self, scope: str) -> list[Metadata]:
        if scope not in self.readable:
            raise RuntimeError("RESOURCE_DOES_NOT_EXIST or PERMISSION_DENIED")

        return [Metadata(key) for key in self.readable[scope]]


class Utilities:
    def __init__(self, origin: str, **given: str) -> None:
        self.widgets = Widgets(given)
        self.secrets = Secrets(origin)


def test_in_databricks_parameters_come_from_widgets_and_secrets_from_scopes(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_PARAM_ROWS", "9")
    given = Utilities(receiver.origin, callback_url=receiver.url, rows="2", **SCOPE)
    monkeypatch.setattr(notebook, "dbutils", given, raising=False)

    notebook.main()

    (report,) = receiver.received
    check_proof(report, "succeeded")
    assert report.json == {"rows": 2, "sum": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"proof_scope": "other"}, "the secret scope 'other' does not exist, or the identity of this run has no READ"),
        ({"proof_key": "other"}, "the secret scope 'jobs' has no key 'other'"),
        ({"proof_origin": "other"}, "the secret scope 'jobs' has no key 'other'"),
        ({"proof_key": "hidden"}, "the secret 'hidden' of the scope 'jobs' cannot be read (RuntimeError)"),
    ],
)
def test_in_databricks_the_error_says_why_a_secret_is_missing_without_quoting_databricks(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], message: str
) -> None:
    given = Utilities(receiver.origin, callback_url=receiver.url, **(SCOPE | changed))
    monkeypatch.setattr(notebook, "dbutils", given, raising=False)

    with pytest.raises(notebook.ReportFailed, match=re.escape(message)) as caught:
        notebook.main()

    assert "Secret does not exist" not in "".join(traceback.format_exception(caught.value))
    assert receiver.received == []


def test_the_file_is_a_notebook_that_databricks_imports() -> None:
    lines = NOTEBOOK.read_text().splitlines()

    assert lines[0] == "# Databricks notebook source"
    assert lines.count("# COMMAND ----------") >= 5
    assert "# MAGIC %md" in lines


def test_an_address_is_not_in_a_callbacks_repr(receiver: Receiver) -> None:
    callback = notebook.Callback(receiver.url, notebook.Proof(b"key", notebook.origin(receiver.url)))

    assert TOKEN not in repr(callback)
    assert "b'key'" not in repr(callback)
