"""Headers for browsers, on every response to every request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.edge import AUTHORISED, edge, problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.edge import Edge


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


PATHS = [
    *("/healthz", "/readyz", "/metrics", "/openapi.json", "/nonsense", "/callbacks", "/callbacks/x", "/approvals/x"),
    *("/webhooks/x", "/workflows/ask/1", "/workflows/ask/nobody", "/workflows/nobody/1"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
async def test_every_answer_says_what_a_browser_may_do_with_it(here: Edge, method: str) -> None:
    foreign = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

    for path in PATHS:
        for more in ({}, AUTHORISED, foreign):
            answer = await here.client.request(method, path, headers=more)
            policy = answer.headers["content-security-policy"].split("; ")

            assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cache-control"] == "no-store"
            assert not any(name.startswith("access-control-") for name in answer.headers)
            assert not answer.content or answer.headers["content-type"].startswith(
                ("application/json", "application/problem+json", "text/html; charset=utf-8", "text/plain; ")
            )


async def test_a_page_keeps_its_own_policy(here: Edge) -> None:
    answer = await here.client.get("/approvals/x")

    assert "style-src 'nonce-" in answer.headers["content-security-policy"]
    assert answer.headers.get_list("content-security-policy") == [answer.headers["content-security-policy"]]


@pytest.mark.parametrize("path", PATHS)
async def test_trace_is_not_supported(here: Edge, path: str) -> None:
    answer = await here.client.request("TRACE", path, headers=AUTHORISED)

    if path == "/nonsense":
        problem(answer, 404, "not-found")
    else:
        assert answer.status_code == 405

    assert "Bearer" not in answer.text
