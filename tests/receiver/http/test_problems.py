"""Every refusal is a problem document, and no response or log contains the text of an exception."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, get_args

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.testclient import TestClient

from receiver.http.problems import PROBLEMS, Problem, ProblemName, exception_handlers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

SECRET = "eyJub3QiOiJmb3IgbG9ncyJ9"

STATUSES = {
    "two-tokens": 400,
    "bad-token": 400,
    "repeated-signature": 400,
    "invalid-key": 400,
    "invalid-parameter": 400,
    "malformed-body": 400,
    "invalid-token": 401,
    "invalid-proof": 401,
    "invalid-signature": 401,
    "unauthorized": 401,
    "forbidden": 403,
    "not-found": 404,
    "unknown-promise": 404,
    "unknown-source": 404,
    "unknown-workflow": 404,
    "unknown-callback": 404,
    "unknown-id": 404,
    "method-not-allowed": 405,
    "request-timeout": 408,
    "already-settled": 409,
    "id-reused": 409,
    "expired": 410,
    "too-large": 413,
    "unsupported-media-type": 415,
    "ikey-reused": 422,
    "invalid-id": 422,
    "invalid-input": 422,
    "rate-limited": 429,
    "headers-too-large": 431,
    "internal-error": 500,
    "engine-unavailable": 503,
}


def client_of(error: Exception) -> TestClient:
    async def endpoint(request: Request) -> Response:
        raise error

    app = Starlette(routes=[Route("/", endpoint, methods=["GET", "PUT"])], exception_handlers=exception_handlers)
    return TestClient(app, raise_server_exceptions=False)


def test_the_names_and_statuses_are_those_of_the_contract() -> None:
    assert {name: status for name, (status, _) in PROBLEMS.items()} == STATUSES
    assert set(get_args(ProblemName)) == set(STATUSES)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_each_problem_is_answered_as_rfc_9457_says(name: ProblemName) -> None:
    answer = client_of(Problem(name, "Because.")).get("/")

    assert answer.status_code == STATUSES[name]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": f"urn:countersign:{name}",
        "title": PROBLEMS[name][1],
        "status": STATUSES[name],
        "detail": "Because.",
    }


def test_a_problem_without_detail_has_none() -> None:
    assert "detail" not in client_of(Problem("expired")).get("/").json()


def test_further_members_stand_in_the_document_but_never_replace_its_own() -> None:
    problem = Problem("already-settled", None, None, by="watcher", status="no", settled_at="2026-11-21T08:00:00Z")

    assert client_of(problem).get("/").json() == {
        "type": "urn:countersign:already-settled",
        "title": PROBLEMS["already-settled"][1],
        "status": 409,
        "by": "watcher",
        "settled_at": "2026-11-21T08:00:00Z",
    }


def test_a_401_says_how_to_authenticate() -> None:
    for name in ("invalid-token", "invalid-proof", "unauthorized"):
        assert client_of(Problem(name)).get("/").headers["www-authenticate"] == "Bearer"


def test_a_refusal_that_may_be_retried_says_when() -> None:
    for name in ("rate-limited", "engine-unavailable"):
        assert int(client_of(Problem(name)).get("/").headers["retry-after"]) > 0

    assert client_of(Problem("rate-limited", None, {"Retry-After": "7"})).get("/").headers["retry-after"] == "7"


def test_an_unknown_path_is_our_404_and_does_not_show_the_path() -> None:
    answer = client_of(ValueError()).get("/nowhere/" + SECRET)

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:countersign:not-found"
    assert SECRET not in answer.text


def test_an_unknown_method_is_our_405_with_the_allowed_ones() -> None:
    answer = client_of(ValueError()).post("/")

    assert answer.status_code == 405
    assert answer.json()["type"] == "urn:countersign:method-not-allowed"
    assert answer.headers["allow"] == "GET, HEAD, PUT"


def test_another_refusal_of_the_framework_keeps_its_status_and_loses_its_words() -> None:
    answer = client_of(HTTPException(418, SECRET, {"X-Kept": "1"})).get("/")

    assert answer.status_code == 418
    assert answer.headers["x-kept"] == "1"
    assert answer.json() == {"type": "about:blank", "title": "I'm a Teapot", "status": 418}


def test_an_unexpected_exception_is_a_500_without_a_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = client_of(ValueError(SECRET)).get("/")

    assert answer.status_code == 500
    assert answer.json() == {
        "type": "urn:countersign:internal-error",
        "title": PROBLEMS["internal-error"][1],
        "status": 500,
    }
    ours = [record.getMessage() for record in caplog.records if record.name == "receiver.http.problems"]
    assert len(ours) == 1
    assert re.search(r"builtins\.ValueError at .*test_problems\.py:\d+ endpoint", ours[0])
    assert SECRET not in caplog.text


def test_a_client_that_left_is_answered_quietly(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answer = client_of(ClientDisconnect()).get("/")

    assert answer.content == b""
    assert not caplog.records
