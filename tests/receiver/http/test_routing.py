"""An encoded slash is not a separator: a path with one has no valid token, id or name, and reaches no other route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from support.edge import AUTHORISED, Edge, edge, problem
from support.wire import serving, told

from receiver.http.routing import Routes, keep_encoded_slashes, path_below, route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


@pytest.mark.parametrize("slash", ["%2F", "%2f", "%252F", "%5C", "%00", "/%2e%2e/", "%ff", "%c0%af", "%E2%88%95", ";"])
async def test_only_a_slash_ends_a_token(here: Edge, slash: str) -> None:
    token = await here.asked()
    body = {"message": "a failure"}
    json = {"Content-Type": "application/json"}

    for path in (f"/callbacks/{token}{slash}failure", f"/callbacks{slash}{token}"):
        answer = await here.client.post(path, json=body, headers=json)
        assert answer.status_code in {401, 404, 405}, path

    assert (await here.post(token, 1)).json()["duplicate"] is False


async def test_a_token_with_an_encoded_slash_is_invalid(here: Edge) -> None:
    token = await here.asked()
    json = {"Content-Type": "application/json"}

    problem(await here.client.post(f"/callbacks/{token}%2Ffailure", content="1", headers=json), 401, "invalid-token")
    problem(await here.client.get(f"/callbacks/{token}%2Ffailure"), 401, "invalid-token")
    problem(await here.client.post(f"/callbacks%2F{token}", content="1", headers=json), 404, "not-found")
    problem(await here.client.get("/webhooks%2Fa"), 404, "not-found")
    problem(await here.client.post(f"/webhooks/a%2F{token}", content="1", headers=json), 404, "unknown-source")
    problem(await here.client.get("/workflows%2Fask/1", headers=AUTHORISED), 404, "not-found")
    problem(await here.client.get("/workflows/ask%2F1", headers=AUTHORISED), 404, "not-found")
    problem(await here.client.post("/workflows/ask%2F1", headers=AUTHORISED), 404, "not-found")
    problem(await here.client.get("/workflows/ask/1%2F2", headers=AUTHORISED), 422, "invalid-id")
    problem(await here.client.put("/workflows/ask/%2F", content="{}", headers=AUTHORISED | json), 422, "invalid-id")
    assert (await here.client.get(f"/approvals/{token}%2Fa")).status_code == 404
    assert (await here.client.get("/healthz%2F")).status_code == 404


async def test_characters_that_need_no_encoding_mean_the_same_encoded(here: Edge) -> None:
    token = await here.asked()
    encoded = "".join(f"%{ord(letter):02X}" for letter in token)

    assert (await here.client.get(f"/callbacks/{encoded}")).json()["state"] == "pending"
    assert (await here.client.get("/%68ealthz")).status_code == 200


async def test_the_same_holds_over_a_socket_and_below_another_application(here: Edge) -> None:
    token = await here.asked()
    outer = Starlette(routes=[Mount("/below", here.app)])

    async with serving(outer) as running:
        asked = [
            f"{method} /below/callbacks/{token}{rest} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            for method, rest in (("GET", ""), ("GET", "%2Ffailure"), ("POST", "%2ffailure"), ("GET", "/failure"))
        ]
        statuses = [one.status for one in await told(running, b"".join(asked))]

    assert statuses == [200, 401, 401, 405]


async def test_targets_of_other_forms_lead_where_their_path_leads(here: Edge) -> None:
    async with serving(here.app) as running:
        asked = [
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://evil.example/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://evil.example HTTP/1.1\r\nHost: a\r\n\r\n",
            b"FOO /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
        got = await told(running, b"".join(asked))

    assert [one.status for one in got] == [404, 200, 303, 405]
    assert got[2].headers["location"] == "/console"
    assert not any(b"evil" in one.body for one in got)


def test_a_server_that_does_not_say_how_the_path_was_sent_is_believed() -> None:
    for scope in ({"type": "http", "path": "/a/b"}, {"type": "http", "path": "/a/b", "raw_path": None}):
        assert keep_encoded_slashes(scope) is scope


def test_a_path_in_front_that_a_server_says_only_decoded_stays_as_it_is() -> None:
    """Some servers put their mount path in front of `path`, and some in front of `raw_path` too."""
    whole = {"path": "/be low/a/b", "raw_path": b"/be%20low/a%2Fb", "root_path": "/be low"}
    alone = {"path": "/be low/a/b", "raw_path": b"/a%2Fb", "root_path": "/be low"}

    assert keep_encoded_slashes(whole)["path"] == keep_encoded_slashes(alone)["path"] == "/be low/a%2Fb"


@pytest.mark.parametrize(
    ("path", "root_path", "below"),
    [
        ("/approvals/a", None, "/approvals/a"),
        ("/approvals/a", "", "/approvals/a"),
        ("/below/approvals/a", "/below", "/approvals/a"),
        ("/belowest/a", "/below", "/belowest/a"),
        ("/approvals/a", "/elsewhere", "/approvals/a"),
    ],
)
def test_the_path_below_a_mount_is_what_follows_it(path: str, root_path: str | None, below: str) -> None:
    assert path_below({"path": path} | ({} if root_path is None else {"root_path": root_path})) == below


async def test_an_error_is_handled_by_its_class_or_the_nearest_class_above_it() -> None:
    async def fail(request: Request) -> Response:
        raise {"lookup": LookupError, "key": KeyError, "index": IndexError, "value": ValueError}[
            request.path_params["a"]
        ]

    async def lookup(_: Request, error: Exception) -> Response:
        return PlainTextResponse(f"lookup: {type(error).__name__}")

    async def key(_: Request, __: Exception) -> Response:
        return PlainTextResponse("key")

    app = Routes([route("/{a:word}", GET=fail)], {LookupError: lookup, KeyError: key})

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://a") as client:
        got = [(await client.get(f"/{name}")).text for name in ("lookup", "key", "index")]

        with pytest.raises(ValueError, match=r"^$"):
            await client.get("/value")

    assert got == ["lookup: LookupError", "key", "lookup: IndexError"]


async def test_a_path_has_all_methods_of_its_first_route_that_takes_them(here: Edge) -> None:
    problem(await here.client.get("/nothing"), 404, "not-found")
    problem(await here.client.get("/healthz%0A"), 404, "not-found")
    refused = await here.client.delete("/callbacks")
    problem(refused, 405, "method-not-allowed")

    assert refused.headers["Allow"] == "GET, HEAD, POST"
    assert (await here.client.head("/healthz")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_a_name_of_ours_in_a_path_is_no_token_and_no_id_and_its_refusal_names_its_own_methods(
    here: Edge, method: str
) -> None:
    for path in ("/callbacks/failure", "/workflows/ask/1/callbacks/answer", "/workflows/ask/1/callbacks/answer/remind"):
        answer = await here.client.request(method, path, headers=AUTHORISED)

        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
