"""The second factor of the notebook's reports."""

from __future__ import annotations

import base64

import notebook
import pytest
from support.reporting import PROOF, SCOPE, SETTLED, TOKEN, Receiver, Run, check_proof, secrets_of

from orchestrator.config.secret import Secret
from receiver.surfaces.caller_proof import Kind, verify_proof

#: They start programs.
pytestmark = pytest.mark.slow


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
