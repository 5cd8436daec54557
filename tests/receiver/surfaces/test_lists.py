"""`GET /workflows` and `GET /waits`: the exact shape of what they show, pages by cursor, refusals, roles."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.edge import AUTHORISED, Edge, edge, problem
from support.plant import pause

from orchestrator import Context, Question, ask_people, workflow
from orchestrator.engine.search import Found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.engine.search import RootSearch

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Nothing(BaseModel):
    """No input."""


@workflow(name="to_people")
async def to_people(ctx: Context, request: Nothing) -> object:
    return (
        await ask_people(ctx, "ship", Question(title="<b>Ship?</b>"), ["ada@example.org", "bob@example.org"])
    ).decision


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path, workflows=[to_people], MAIL="console:") as one:
        yield one


async def get(here: Edge, path: str) -> dict[str, Any]:
    answer = await here.client.get(path, headers=AUTHORISED)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()

    return document


async def test_workflows_are_listed_in_this_shape(here: Edge) -> None:
    token = await here.asked("1")
    await here.post(token)
    await here.ended("1")
    await here.asked("2")

    document = await get(here, "/workflows")
    running, over = document["workflows"]

    assert document.keys() == {"workflows", "next"}
    assert document["next"] is None
    assert running.keys() == over.keys() == {"workflow", "id", "state", "started_at", "ended_at"}
    assert (running["workflow"], running["id"], running["state"], running["ended_at"]) == ("ask", "2", "running", None)
    assert (over["id"], over["state"]) == ("1", "succeeded")
    assert all(MOMENT.fullmatch(moment) for moment in (over["started_at"], over["ended_at"], running["started_at"]))


async def test_waits_are_listed_in_this_shape(here: Edge) -> None:
    await here.asked("1", audience="approver")
    await here.asked("2")
    answer = await here.client.put("/workflows/to_people/3", json={}, headers=AUTHORISED)
    assert answer.status_code == 201

    while len((await get(here, "/waits"))["waits"]) < 3:
        await pause(0.02)

    document = await get(here, "/waits")
    first, second, third = document["waits"]
    plain = {"workflow", "id", "callback", "audience", "subject", "opened_at", "expires_at"}

    assert document.keys() == {"waits", "next"}
    assert first.keys() == second.keys() == plain
    assert third.keys() == {*plain, "title", "people"}
    assert (first["audience"], first["subject"], second["audience"]) == ("approver", "a test", "machine")
    assert (third["callback"], third["title"]) == ("ship", "<b>Ship?</b>")
    assert third["people"] == ["ada@example.org", "bob@example.org"]
    assert MOMENT.fullmatch(third["opened_at"])
    assert third["opened_at"] < third["expires_at"]


async def test_no_list_has_a_token_or_a_link(here: Edge) -> None:
    token = await here.asked("1")
    text = json.dumps([await get(here, "/waits"), await get(here, "/workflows")])

    assert token not in text
    assert "http" not in text
    assert "eyJ" not in text


async def test_a_cursor_leads_through_all_pages(here: Edge) -> None:
    for number in range(5):
        await here.asked(f"{number}")

    for path, name in (("/workflows?name=ask&limit=2", "workflows"), ("/waits?workflow=ask&limit=2", "waits")):
        found: list[str] = []
        page = await get(here, path)
        found += [row["id"] for row in page[name]]

        while page["next"] is not None:
            page = await get(here, f"{path}&cursor={page['next']}")
            found += [row["id"] for row in page[name]]

        assert sorted(found) == ["0", "1", "2", "3", "4"]


async def test_a_time_from_a_row_finds_that_row(here: Edge) -> None:
    await here.asked("1")
    (row,) = (await get(here, "/workflows"))["workflows"]

    document = await get(here, f"/workflows?since={row['started_at']}&until={row['started_at']}")

    assert [each["id"] for each in document["workflows"]] == ["1"]

    later = row["started_at"].replace("Z", "001Z")
    assert (await get(here, f"/workflows?since={later}"))["workflows"] == []
    assert [each["id"] for each in (await get(here, f"/workflows?until={later}"))["workflows"]] == ["1"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("workflows?limit=0", "limit"),
        ("workflows?limit=201", "limit"),
        ("workflows?limit=1&limit=2", "limit"),
        ("workflows?state=done", "state"),
        ("workflows?since=yesterday", "since"),
        ("workflows?until=2026-11-21T08:00:00", "until"),
        ("workflows?name=a.b", "name"),
        ("workflows?cursor=", "cursor"),
        ("workflows?cursor=AAAA", "cursor"),
        ("workflows?person=ada", "person"),
        ("waits?limit=-1", "limit"),
        ("waits?audience=people", "audience"),
        ("waits?workflow=", "workflow"),
        ("waits?person=", "person"),
        ("waits?state=running", "state"),
        ("waits?cursor=%00", "cursor"),
    ],
)
async def test_a_parameter_that_cannot_be_used_is_named(here: Edge, query: str, name: str) -> None:
    document = problem(await here.client.get(f"/{query}", headers=AUTHORISED), 400, "invalid-parameter")

    assert document["parameter"] == name
    assert f"`{name}`" in document["detail"]


async def test_a_cursor_is_good_only_for_its_own_list_and_filters(here: Edge) -> None:
    await here.asked("1")
    await here.asked("2")
    cursor = (await get(here, "/workflows?limit=1"))["next"]

    for path in ("/workflows?state=running&", "/workflows?name=ask&", "/waits?"):
        answer = await here.client.get(f"{path}cursor={cursor}", headers=AUTHORISED)
        assert problem(answer, 400, "invalid-parameter")["parameter"] == "cursor"

    assert [row["id"] for row in (await get(here, f"/workflows?limit=2&cursor={cursor}"))["workflows"]] == ["1"]
    cursor = (await get(here, "/waits?limit=1"))["next"]

    for path in ("/waits?workflow=ask&", "/waits?audience=machine&", "/waits?person=ada&", "/workflows?"):
        answer = await here.client.get(f"{path}cursor={cursor}", headers=AUTHORISED)
        assert problem(answer, 400, "invalid-parameter")["parameter"] == "cursor"


@pytest.mark.parametrize("path", ["/workflows", "/waits"])
async def test_lists_need_a_key_and_answer_head(here: Edge, path: str) -> None:
    answer = await here.client.get(path)
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await here.client.head(path, headers=AUTHORISED)).status_code == 200
    refused = await here.client.delete(path, headers=AUTHORISED)
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "GET, HEAD"


async def test_what_an_engine_cannot_do_is_said(here: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def roots(_: RootSearch) -> Found:
        return Found(records=[], next=None, caveats=("It is slow.",))

    monkeypatch.setattr(here.engine.search, "roots", roots)

    assert await get(here, "/workflows") == {"workflows": [], "next": None, "caveats": ["It is slow."]}
