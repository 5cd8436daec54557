"""Deliveries that start a workflow: once, however often they are sent."""

from __future__ import annotations

import hashlib
import json
import re
import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.edge import AUTHORISED, Edge, edge, problem, untouched
from support.plant import pause
from support.posting import Post
from support.senders import SIGNED, senders, sources_file

from orchestrator import Context, workflow
from orchestrator.engine import connecting
from orchestrator.engine.embedded.connection import EmbeddedConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Anything(BaseModel):
    """An input of any structure."""

    name: Any = None
    more: Any = None
    deadline: Any = None


@workflow()
async def note(_ctx: Context, _request: Anything) -> None:
    """Accept anything and do nothing."""


@pytest.fixture
async def starting(tmp_path: Path) -> AsyncIterator[Post]:
    """Senders whose deliveries start a workflow."""
    known = senders()
    lines = 'workflow = "ask"\ninput = "question"'
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        yield Post(here, known)


@pytest.mark.parametrize("name", SIGNED)
async def test_a_delivery_starts_its_workflow_once(starting: Post, name: str) -> None:
    body = {"question": {"name": "paid"}, "more": 1}
    first = await starting.deliver(name, body)
    again = await starting.deliver(name, body, moment=int(time.time()) - 5)

    document = first.json()
    assert (first.status_code, again.status_code) == (200, 200)
    assert (document["workflow"], document["created"]) == ("ask", True)
    assert re.fullmatch(rf"{name}-[0-9a-f]{{32}}", document["id"])
    assert again.json() == document | {"created": False}

    shown = await starting.here.client.get(f"/workflows/ask/{document['id']}", headers=AUTHORISED)
    assert shown.json()["state"] == "running"


async def test_the_id_of_a_started_workflow_is_made_of_the_delivery_id(tmp_path: Path) -> None:
    known = senders()
    lines = 'workflow = "ask"\ninput = "question"\nid = "id"'
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        post = Post(here, known)
        answer = await post.deliver("stripe", {"id": "evt_1", "question": {}})
        digest = hashlib.sha256(b"evt_1").hexdigest()[:32]

        assert answer.json() == {"workflow": "ask", "id": f"stripe-{digest}", "created": True}
        assert (await post.deliver("stripe", {"id": "evt_1", "question": {"name": "b"}})).json()["created"] is False
        assert (await post.deliver("github", {"id": "evt_1", "question": {}})).json()["created"] is True


async def test_the_signed_id_names_the_delivery_where_the_scheme_has_one(starting: Post) -> None:
    answer = await starting.deliver("standard", {"question": {}})

    assert answer.json()["id"] == f"standard-{hashlib.sha256(b'msg_1').hexdigest()[:32]}"


async def test_the_whole_body_is_the_input_unless_the_source_says_otherwise(tmp_path: Path) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, 'workflow = "ask"')) as here:
        post = Post(here, known)
        answer = await post.deliver("github", {"name": "whole"})
        await here.token(answer.json()["id"])

        record = await here.engine.promises.get(f"ask.{answer.json()['id']}:1")
        assert record.tags["countersign:callback"] == "whole"


@pytest.mark.parametrize("question", [None, [], "x", 1, {"deadline": "soon"}, {"surprise": 1}])
async def test_an_input_that_does_not_fit_is_malformed_and_starts_nothing(starting: Post, question: object) -> None:
    refused = problem(await starting.deliver("github", {"question": question}), 400, "malformed-body")

    assert "soon" not in json.dumps(refused)
    assert (await starting.deliver("github", {"question": {}})).json()["created"] is True


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("{name: 'x', more: @}", '{"a": ' + "[" * 63 + "]" * 63 + "}"),
        ("{deadline: to_number(a)}", '{"a": "' + "9" * 400 + '"}'),
        ('{name: `\\"\\\\ud800\\"`}', "{}"),
    ],
    ids=["nested too deeply", "an absurd integer", "a lone surrogate"],
)
async def test_an_input_that_nobody_could_read_again_is_malformed(tmp_path: Path, expression: str, value: str) -> None:
    known = senders()
    lines = f'workflow = "note"\ninput = "{expression}"'
    async with edge(tmp_path, workflows=[note], SOURCES=sources_file(tmp_path, known, lines)) as here:
        problem(await Post(here, known).deliver("github", value), 400, "malformed-body")


@pytest.mark.parametrize("expression", ["{deadline: sum(a)}", "{deadline: to_number(b)}", "not_null(&a)", "length(c)"])
async def test_an_input_that_is_no_json_is_malformed(tmp_path: Path, expression: str) -> None:
    known = senders()
    lines = f'workflow = "ask"\ninput = "{expression}"'
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        body = {"a": [1e308, 1e308], "b": "1e999", "c": 1}
        problem(await Post(here, known).deliver("github", body), 400, "malformed-body")


async def test_a_source_that_starts_workflows_takes_no_token(starting: Post) -> None:
    token = await starting.here.asked()

    problem(await starting.deliver("github", {"question": {}}, token=token), 400, "bad-token")
    assert await untouched(starting.here)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("name", ["github", "shopify", "own", "standard"])
async def test_a_captured_delivery_starts_nothing_once_the_engine_has_forgotten_its_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    forgetful = partial(EmbeddedConnection, retention=timedelta(milliseconds=50))
    monkeypatch.setattr(connecting, "EmbeddedConnection", forgetful)
    url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/engine.db"
    known = senders()
    sources = sources_file(tmp_path, known, 'workflow = "note"')

    async with edge(tmp_path, url, workflows=[note], SOURCES=sources) as here:
        post = Post(here, known)
        first = (await post.deliver(name, {"name": 1})).json()
        assert first["created"] is True
        await forgotten(here, first["id"])

        for _ in range(2):
            again = await post.deliver(name, {"name": 1})
            assert (again.status_code, again.json()) == (200, first | {"created": False})

        shown = await here.client.get(f"/workflows/note/{first['id']}", headers=AUTHORISED)
        problem(shown, 404, "unknown-id")
        assert len(here.engine.resonate._network.state.promises) < 5  # type: ignore[attr-defined]

    if kind == "sqlite":
        async with edge(tmp_path, url, workflows=[note], SOURCES=sources) as here:
            assert (await Post(here, known).deliver(name, {"name": 1})).json() == first | {"created": False}


async def forgotten(here: Edge, workflow_id: str) -> None:
    """Return once the engine has dropped a workflow."""
    for _ in range(1500):
        shown = await here.client.get(f"/workflows/note/{workflow_id}", headers=AUTHORISED)

        if shown.status_code == 404:
            return

        await pause(0.02)

    pytest.fail("the workflow is still there")
