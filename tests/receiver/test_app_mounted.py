"""The receiver mounted in another application: at a path, over real HTTP, with a lifespan of its own.

Long because the same guarantees are tested in several frameworks and at several paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fastapi
import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from support.approving import seen
from support.configuration import API_KEY, settings
from support.edge import problem
from support.plant import pause

import receiver
from orchestrator.config.settings import Settings, load_settings
from orchestrator.errors import ConfigurationError, EngineInUse
from receiver.app import create_app
from receiver.http.application import Application

BELOW = "/internal/callbacks"
KEY = {"Authorization": f"Bearer {API_KEY}"}
WORKFLOWS = '''
from pydantic import BaseModel

from orchestrator import Context, Question, ask_people, open_callback, workflow

links = []


class Nothing(BaseModel):
    """No input."""


async def hand_out(ctx, address):
    links.append(await address.url(ctx))


@workflow()
async def wait(ctx: Context, request: Nothing):
    callback = await open_callback(ctx, "answer")
    await ctx.run(hand_out, callback.address)
    return (await callback).value


@workflow()
async def consult(ctx: Context, request: Nothing):
    answers = await ask_people(ctx, "owner", Question(title="May we?", text="Say so."), ["ada@example.org"])
    return answers.decision
'''
SECRET = "VGhpcyBpcyBhIHNlY3JldCBmb3IgdGhlIHRlc3Rz"

type MakeHost = Callable[[Application], Any]


def starlette_host(app: Application) -> Starlette:
    async def own(_: Request) -> Response:
        return JSONResponse({"own": True})

    return Starlette(routes=[Route("/own", own), Mount(BELOW, app)], lifespan=app.lifespan)


def fastapi_host(app: Application) -> fastapi.FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(host: fastapi.FastAPI) -> AsyncIterator[None]:
        async with app.lifespan(host):
            host.state.own = True
            yield

    host = fastapi.FastAPI(lifespan=lifespan)

    @host.get("/own")
    async def own() -> dict[str, bool]:
        return {"own": host.state.own}

    host.mount(BELOW, app)

    return host


HOSTS = pytest.mark.parametrize("make", [starlette_host, fastapi_host])


@contextlib.asynccontextmanager
async def served(app: Any, listener: socket.socket, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve this application with uvicorn, and yield a client of it."""
    chosen: dict[str, Any] = {"log_config": None, "access_log": False, "ws": "none", **options}
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", **chosen))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))

    while not server.started:
        assert not serving.done(), "it did not start"
        await pause(0.01)

    host, port = listener.getsockname()

    try:
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


@pytest.fixture
def chosen(tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that name workflows, sources and a public URL with the path of the mount."""
    (tmp_path / "mounted_workflows.py").write_text(WORKFLOWS)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "sources.toml").write_text(
        '[sources.forge]\nscheme = "github"\nsecrets = ["file:secret"]\nworkflow = "wait"\nid = "id"\ninput = "input"\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mounted_workflows", raising=False)

    return settings(
        tmp_path,
        f"sqlite:///{tmp_path}/engine.db",
        PUBLIC_URL=f"http://127.0.0.1:{listener.getsockname()[1]}{BELOW}",
        WORKFLOWS="mounted_workflows",
        SOURCES=str(tmp_path / "sources.toml"),
    )


@pytest.fixture
def uvicorn_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """uvicorn's access log, with a handler, as uvicorn's own configuration sets it up."""
    access = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(access, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(access, "propagate", False)
    before = access.level
    access.setLevel(logging.INFO)
    yield access
    access.setLevel(before)


async def link_of(client: httpx2.AsyncClient) -> str:
    """Start the workflow that waits, and return the link that it handed out."""
    started = await client.put(f"{BELOW}/workflows/wait/1", json={}, headers=KEY)
    assert started.status_code == 201

    while not (links := sys.modules["mounted_workflows"].links):
        await pause(0.01)

    return str(links[0])


@HOSTS
async def test_the_host_s_own_routes_and_ours_are_served_side_by_side(
    make: MakeHost, chosen: Settings, listener: socket.socket
) -> None:
    async with served(make(create_app(chosen)), listener) as client:
        assert (await client.get("/own")).json() == {"own": True}
        assert (await client.get(f"{BELOW}/readyz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 404
        problem(await client.get(f"{BELOW}/nowhere"), 404, "not-found")
        problem(await client.post(f"{BELOW}/callbacks", json=1), 401, "invalid-token")
        problem(await client.get(f"{BELOW}/webhooks/forge"), 405, "method-not-allowed")
        assert (await client.get(f"{BELOW}/openapi.json")).json()["openapi"]


@HOSTS
async def test_a_callback_is_settled_by_the_link_as_it_was_handed_out(
    make: MakeHost, chosen: Settings, listener: socket.socket
) -> None:
    async with served(make(create_app(chosen)), listener) as client:
        link = await link_of(client)
        assert link.startswith(f"{chosen.public_url}/callbacks/")
        assert (await client.post(link, json={"rows": 7})).json()["state"] == "settled"
        ended = await client.get(f"{BELOW}/workflows/wait/1", headers=KEY | {"Prefer": "wait=20"})
        assert ended.json()["result"] == {"rows": 7}


@HOSTS
async def test_a_person_decides_on_the_page_and_comes_back_to_it(
    make: MakeHost, chosen: Settings, listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(make(create_app(chosen)), listener) as client:
        await client.put(f"{BELOW}/workflows/consult/1", json={}, headers=KEY)
        printed = ""

        while not (link := re.search(r"^http://\S+/approvals/\S+$", printed, re.MULTILINE)):
            await pause(0.02)
            printed += capsys.readouterr().out

        page = await client.get(link[0])
        assert "May we?" in seen(page)
        (action,) = re.findall(r'action="([^"]+)"', page.text)
        assert action.startswith(f"{BELOW}/approvals/")
        decided = await client.post(action, data={"decision": "approve"})
        assert (decided.status_code, decided.headers["location"]) == (303, action)
        assert "Approved" in seen(await client.get(decided.headers["location"]))
        assert seen(await client.get(f"{BELOW}/approvals/forged"), 404)


async def test_a_third_party_s_delivery_starts_a_workflow(chosen: Settings, listener: socket.socket) -> None:
    body = json.dumps({"id": "d-1", "input": {}}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}

    async with served(starlette_host(create_app(chosen)), listener) as client:
        answer = await client.post(f"{BELOW}/webhooks/forge", content=body, headers=headers)
        forged = await client.post(f"{BELOW}/webhooks/forge", content=body + b" ", headers=headers)

    assert (answer.status_code, answer.json()["created"]) == (200, True)
    assert forged.status_code == 401


@HOSTS
async def test_requests_are_counted_by_our_routes_and_named_by_their_client(
    make: MakeHost, chosen: Settings, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "receiver.access")

    async with served(make(create_app(chosen)), listener, proxy_headers=False) as client:
        headers = KEY | {"X-Forwarded-For": "192.0.2.7"}
        await client.get(f"{BELOW}/workflows/wait/none", headers=headers)
        await client.get(f"{BELOW}/nowhere/at/all", headers=headers)
        metrics = (await client.get(f"{BELOW}/metrics", headers=KEY)).text

    assert 'route="/workflows/{name}/{id}"' in metrics
    assert 'route="unmatched"' in metrics
    assert BELOW not in metrics + caplog.text
    assert caplog.text.count("client=192.0.2.7") == 2


@HOSTS
async def test_an_encoded_slash_is_part_of_its_segment_below_the_path_too(
    make: MakeHost, chosen: Settings, listener: socket.socket
) -> None:
    async with served(make(create_app(chosen)), listener) as client:
        problem(await client.put(f"{BELOW}/workflows/wait/a%2Fb", json={}, headers=KEY), 422, "invalid-id")
        problem(await client.get(f"{BELOW}%2Fhealthz"), 404, "not-found")


async def test_what_the_path_of_the_mount_names_is_nothing_to_us(chosen: Settings, listener: socket.socket) -> None:
    app = create_app(chosen)
    host = Starlette(routes=[Mount("/{token}", app)], lifespan=app.lifespan)

    async with served(host, listener) as client:
        await client.put("/any/workflows/wait/1", json={}, headers=KEY)

        while not (links := sys.modules["mounted_workflows"].links):
            await pause(0.01)

        bearer = {"Authorization": f"Bearer {links[0].rpartition('/')[2]}"}
        assert (await client.get("/any/callbacks", headers=bearer)).json()["state"] == "pending"
        problem(await client.post("/any/callbacks", json=1), 401, "invalid-token")


async def test_the_engine_is_open_for_as_long_as_the_lifespan(chosen: Settings, listener: socket.socket) -> None:
    app = create_app(chosen)

    async with app.lifespan():
        with pytest.raises(EngineInUse):
            async with create_app(chosen).lifespan():
                pytest.fail("two processes opened the engine")

        with pytest.raises(RuntimeError, match="entered once"):
            async with app.lifespan():
                pytest.fail("it started twice")

    async with served(starlette_host(app), listener) as client:
        assert (await client.get(f"{BELOW}/readyz")).status_code == 200


async def test_of_two_starts_at_the_same_time_one_is_refused(chosen: Settings) -> None:
    app = create_app(chosen)
    first, second = app.lifespan(), app.lifespan()
    ended = await asyncio.gather(first.__aenter__(), second.__aenter__(), return_exceptions=True)

    assert [type(one) for one in ended] == [type(None), RuntimeError]
    await first.__aexit__(None, None, None)


async def test_its_lifespan_is_also_where_frameworks_look_for_one(chosen: Settings) -> None:
    app = create_app(chosen)
    transport = httpx2.ASGITransport(app=starlette_host(app))

    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport) as client:
        assert (await client.get(f"http://127.0.0.1{BELOW}/readyz")).status_code == 200


async def test_it_is_served_alone_as_well(chosen: Settings, listener: socket.socket) -> None:
    async with served(create_app(chosen), listener) as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_a_server_that_serves_below_a_path_itself_is_understood(
    chosen: Settings, listener: socket.socket
) -> None:
    async with served(create_app(chosen), listener, root_path=BELOW) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert seen(await client.get("/approvals/forged"), 404)
        problem(await client.put("/workflows/wait/a%2Fb", json={}, headers=KEY), 422, "invalid-id")


@HOSTS
async def test_without_its_lifespan_it_asks_everybody_to_come_back_and_the_log_names_the_line(
    make: MakeHost, chosen: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    transport = httpx2.ASGITransport(app=make(create_app(chosen)))  # which runs no lifespan

    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        refused = await client.post(f"{BELOW}/callbacks", json=1)
        assert refused.headers["cache-control"] == "no-store"
        assert refused.headers["retry-after"] == "2"
        problem(refused, 503, "engine-unavailable")
        assert seen(await client.get(f"{BELOW}/approvals/x"), 503)

    assert caplog.text.count("lifespan=app.lifespan") == 2  # in one line: for Starlette and for FastAPI
    assert [record.levelname for record in caplog.records if record.name == "receiver"] == ["ERROR"]


async def test_a_configuration_that_cannot_be_used_stops_the_host_s_start(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path, WORKFLOWS="no_such_module_here"))

    with pytest.raises(ConfigurationError, match="COUNTERSIGN_WORKFLOWS"):
        async with app.lifespan():
            pytest.fail("it started")


def test_an_engine_comes_with_its_workflows(chosen: Settings) -> None:
    with pytest.raises(TypeError, match="workflows"):
        create_app(chosen, object())  # type: ignore[arg-type]


async def test_no_web_socket_is_accepted(chosen: Settings) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await create_app(chosen)({"type": "websocket", "path": "/", "headers": []}, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("options", [{"access_log": True}, {"access_log": False}])
async def test_an_access_log_that_would_show_tokens_is_warned_of_at_the_start(
    chosen: Settings,
    listener: socket.socket,
    caplog: pytest.LogCaptureFixture,
    uvicorn_log: logging.Logger,
    options: dict[str, bool],
) -> None:
    async with served(starlette_host(create_app(chosen)), listener, **options) as client:
        await client.get(f"{BELOW}/healthz")

    assert ("--no-access-log" in caplog.text) == options["access_log"]


async def test_a_host_that_logs_everything_does_not_log_whole_requests_of_the_sdk(
    chosen: Settings, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, already = logging.getLogger("resonate"), logging.getLogger("resonate_base")
    monkeypatch.setattr(library, "level", logging.NOTSET)
    monkeypatch.setattr(already, "level", logging.DEBUG)

    async with served(starlette_host(create_app(chosen)), listener):
        assert library.level == logging.INFO
        assert already.level == logging.DEBUG  # as the host has configured it


def test_what_a_host_needs_is_imported_from_the_package() -> None:
    assert receiver.create_app is create_app
    assert receiver.load_settings is load_settings

    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = receiver.nothing_of_ours
