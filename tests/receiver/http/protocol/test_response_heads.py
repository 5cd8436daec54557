"""The bytes of a response's head: each header arrives as exactly one header, or nothing is sent."""

from __future__ import annotations

import json

import pytest

from receiver.http.problems import Problem
from receiver.http.protocol.response_heads import refusal, response_head


def test_names_are_in_lower_case_and_a_blank_line_ends_the_head() -> None:
    assert response_head(204, [(b"X-A", b"1"), (b"x-b", b"")]) == b"HTTP/1.1 204 No Content\r\nx-a: 1\r\nx-b: \r\n\r\n"


def test_a_status_that_nobody_has_named_has_no_phrase() -> None:
    assert response_head(299, []) == b"HTTP/1.1 299 \r\n\r\n"


@pytest.mark.parametrize(
    "header",
    [
        (b"a", b"1\r\nset-cookie: b=1"),
        (b"a", b"1\nb: 2"),
        (b"a", b"1\x00"),
        (b"a\r\nb", b"1"),
        (b"a b", b"1"),
        (b"a:", b"1"),
        (b"", b"1"),
    ],
)
def test_a_header_that_would_be_read_as_another_one_is_never_sent(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="header"):
        response_head(200, [header])


@pytest.mark.parametrize("without_body", [False, True])
def test_a_refusal_is_whole_never_stored_and_the_last_one(*, without_body: bool) -> None:
    data = refusal(Problem("invalid-token"), [(b"date", b"now")], without_body=without_body)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")

    assert lines[0] == b"HTTP/1.1 401 Unauthorized"
    assert {
        *(b"date: now", b"cache-control: no-store", b"x-content-type-options: nosniff", b"connection: close"),
        *(b"www-authenticate: Bearer", b"content-type: application/problem+json"),
    } <= set(lines)
    assert len(lines) == len({line.partition(b":")[0] for line in lines})
    length = next(int(line.partition(b": ")[2]) for line in lines if line.startswith(b"content-length"))

    if without_body:
        assert (body, length > 0) == (b"", True)
    else:
        assert (len(body), json.loads(body)["status"]) == (length, 401)
