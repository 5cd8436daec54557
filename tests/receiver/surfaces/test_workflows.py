"""The workflow API over HTTP: a workflow is started once per id, shown, waited for, cancelled.

Long because the API has four methods, and each has its cases.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.edge import ASK, AUTHORISED, Edge, Question, ask, edge, get, problem, put
from support.plant import pause

from orchestrator import Context, run_workflow, workflow
from orchestrator.runs import step_view, unrun
from orchestrator.runs.roots import start_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


# -- starting -----------------------------------------------------------------


async def test_the_first_start_creates_the_workflow_and_a_repeated_one_finds_it(here: Edge) -> None:
    first = await put(here)
    again = await put(here)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == {"workflow": "ask", "id": "1", "state": "running", "created": True}
    assert again.json() == first.json() | {"created": False}


async def test_of_a_hundred_equal_starts_at_once_one_creates_it(here: Edge) -> None:
    answers = await asyncio.gather(*(put(here) for _ in range(100)))

    assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]


async def test_the_same_id_with_another_input_is_refused_and_equal_json_is_not_another(here: Edge) -> None:
    await put(here, body={"name": "a", "deadline": 60})

    problem(await put(here, body={"name": "b", "deadline": 60}), 409, "id-reused")
    assert (await put(here, body={"deadline": 60.0, "name": "a"})).status_code == 200


async def test_a_start_after_the_end_gives_the_stored_outcome(here: Edge) -> None:
    await put(here)
    await here.post(await here.token(), 7)
    ended = await here.ended()

    assert (await put(here)).json() == ended | {"created": False}


async def test_an_unknown_workflow_is_not_found(here: Edge) -> None:
    document = problem(await put(here, "/workflows/nope/1"), 404, "unknown-workflow")

    assert document["workflows"] == ["ask"]
    assert document["detail"] == "The workflows here are: ask."
    problem(await get(here, "/workflows/nope/1"), 404, "unknown-workflow")
    assert "ask" not in (await here.client.get("/workflows/nope/1")).text


@pytest.mark.parametrize(
    "workflow_id",
    ["a;b", "a%20b", "a%2Fb", "%00", "a%0A", "%0A", "x" * 129, "é", "a~cancel", "", "%2E", "%2E%2E", ".%2E"],
)
async def test_a_bad_id_is_refused(here: Edge, workflow_id: str) -> None:
    problem(await put(here, f"/workflows/ask/{workflow_id}"), 422, "invalid-id")


@pytest.mark.parametrize(
    "workflow_id", ["x" * 128, "A-b_c.9", "-", "...", ".a", "a..", "a:b", ":", "a+b@example.org", "%3A"]
)
async def test_a_good_id_is_taken(here: Edge, workflow_id: str) -> None:
    # An HTTP client would resolve dot segments, so the raw path is passed to the application.
    assert (await put(here, f"/workflows/ask/{workflow_id.replace('.', '%2E')}")).status_code == 201


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"surprise": 1}, {"surprise"}),
        ({"name": 7, "deadline": "x"}, {"name", "deadline"}),
        ({"x" * 500: 1}, {"x" * 100}),
    ],
)
async def test_input_that_does_not_fit_is_refused_with_the_fields_named(
    here: Edge, body: Any, fields: set[str]
) -> None:
    document = problem(await put(here, body=body), 422, "invalid-input")

    assert {fault["field"] for fault in document["errors"]} == fields
    problem(await get(here), 404, "unknown-id")


@pytest.mark.parametrize("body", [[], "x", 1, True])
async def test_input_that_is_no_object_is_refused(here: Edge, body: Any) -> None:
    problem(await put(here, body=body), 422, "invalid-input")


async def test_input_that_is_no_strict_json_is_refused(here: Edge) -> None:
    headers = AUTHORISED | {"Content-Type": "application/json"}

    problem(await here.client.put(ASK, content='{"a":1,"a":1}', headers=headers), 400, "malformed-body")


# -- looking and waiting ------------------------------------------------------


async def test_an_unknown_id_is_not_found(here: Edge) -> None:
    problem(await get(here), 404, "unknown-id")


async def test_waiting_holds_the_answer_until_the_result_is_there(here: Edge) -> None:
    held = asyncio.create_task(put(here, Prefer="wait=30"))
    await here.post(await here.token(), 7)

    answer = await held
    assert answer.status_code == 201
    assert answer.json()["result"]["value"] == 7
    assert answer.json()["state"] == "succeeded"


async def test_a_wait_that_is_over_gives_the_state_as_it_is(here: Edge) -> None:
    assert (await put(here, Prefer="wait=1")).json()["state"] == "running"


@pytest.mark.parametrize("preference", ['wait="1"', "Wait = 1", "respond-async, wait=1; x=y"])
async def test_every_spelling_of_the_preference_is_understood(here: Edge, preference: str) -> None:
    held = asyncio.create_task(put(here, Prefer=preference.replace("1", "30")))
    await here.post(await here.token(), 7)

    assert (await held).json()["state"] == "succeeded"


@pytest.mark.parametrize("preference", ["wait", "wait=", "wait=-1", "wait=x", "wait=1.5", "respond-async", ""])
async def test_a_malformed_preference_is_ignored(here: Edge, preference: str) -> None:
    assert (await put(here, Prefer=preference)).json()["state"] == "running"


async def test_a_hundred_waiters_all_get_the_result(here: Edge) -> None:
    await put(here)
    held = [asyncio.create_task(get(here, Prefer="wait=30")) for _ in range(100)]
    await here.post(await here.token(), 7)

    assert {(await one).json()["state"] for one in held} == {"succeeded"}


async def test_a_workflow_that_breaks_has_failed_with_the_type_and_place_of_the_error(here: Edge) -> None:
    answer = await put(here, body={"breaks": "no such table"}, Prefer="wait=30")

    assert answer.json()["state"] == "failed"
    assert list(answer.json()["error"]) == ["message"]
    assert answer.json()["error"]["message"].startswith("the workflow's code raised RuntimeError at edge.py:")
    assert "no such table" not in answer.text


async def test_the_steps_are_named_and_timed(here: Edge) -> None:
    await put(here)
    await here.post(await here.token(), 7)
    await here.ended()

    steps = (await get(here, f"{ASK}?steps=1")).json()["steps"]
    assert [(step["id"], step["name"], step["state"]) for step in steps] == [
        ("ask.1:1", "answer", "succeeded"),
        ("ask.1:2", "hand_out", "succeeded"),
    ]
    assert all(step["started_at"] <= step["ended_at"] for step in steps)


async def test_a_page_of_steps_says_where_the_next_one_begins_unless_it_is_the_last(
    here: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.post(await here.asked(), 1)
    await here.ended()

    async def page(most: int, query: str = "") -> tuple[list[str], Any, Any]:
        monkeypatch.setattr(step_view, "PAGE", most)
        shown = (await here.client.get(f"/workflows/ask/1?steps=1{query}", headers=AUTHORISED)).json()
        return [step["id"] for step in shown["steps"]], shown.get("truncated"), shown.get("next")

    assert await page(2) == (["ask.1:1", "ask.1:2"], None, None)
    assert await page(1) == (["ask.1:1"], True, "ask.1:1")
    assert await page(1, "&after=ask.1:1") == (["ask.1:2"], None, None)
    assert await page(1, "&after=ask.1:2") == ([], None, None)


async def test_a_callback_that_failed_or_expired_is_no_step_that_succeeded(here: Edge) -> None:
    for workflow_id, deadline in (("failed", 60), ("expired", 1)):
        await put(here, f"/workflows/ask/{workflow_id}", {"deadline": deadline})
        answering = await here.token(workflow_id)

        if workflow_id == "failed":
            await here.post(answering, {"message": "x"}, path="/callbacks/failure")

        await here.ended(workflow_id)
        steps = (await get(here, f"/workflows/ask/{workflow_id}?steps=1")).json()["steps"]
        assert steps[0]["state"] == workflow_id


@pytest.mark.parametrize("accept", ["TEXT/HTML", "application/json;q=0.1, text/html;q=0.2", "text/html, */*;q=0.1"])
async def test_a_client_that_prefers_pages_gets_one(here: Edge, accept: str) -> None:
    await put(here)

    assert (await get(here, Accept=accept)).headers["content-type"].startswith("text/html")


async def test_a_browser_gets_the_graph_as_a_page(here: Edge) -> None:
    await put(here)
    await here.token()
    answer = await get(here, Accept="text/html,application/xhtml+xml,*/*;q=0.8")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert "hand_out" in answer.text
    assert "script" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert policy.partition("'nonce-")[2].partition("'")[0] in answer.text


async def test_a_client_that_takes_anything_gets_json(here: Edge) -> None:
    await put(here)

    for accept in (
        "*/*",
        "application/json",
        "application/json, text/html",
        "text/html;q=0",
        "text/html;q=0.5, application/json",
    ):
        answer = await get(here, Accept=accept)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["vary"] == "Accept"


# -- cancelling ---------------------------------------------------------------


async def test_a_cancel_withdraws_the_callback_at_once_and_the_workflow_sees_it(here: Edge) -> None:
    await put(here)
    answering = await here.token()
    answer = await here.client.delete(ASK, headers=AUTHORISED)

    assert answer.status_code == 202
    problem(await here.post(answering, 1), 410, "expired")
    assert (await here.ended())["result"] == {
        "kind": "cancelled",
        "value": {"message": "the workflow was cancelled"},
        "by": "cancel",
    }


async def test_a_cancel_of_a_workflow_that_is_over_changes_nothing(here: Edge) -> None:
    await put(here)
    await here.post(await here.token(), 7)
    ended = await here.ended()

    assert (await here.client.delete(ASK, headers=AUTHORISED)).status_code == 202
    assert await here.ended() == ended


async def test_a_cancel_of_an_unknown_id_is_not_found(here: Edge) -> None:
    problem(await here.client.delete(ASK, headers=AUTHORISED), 404, "unknown-id")


# -- who may ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic x", "Bearer ", "Bearer é"])
async def test_without_a_valid_key_nothing_is_told_or_done(here: Edge, method: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {b"Authorization": authorization.encode()}

    for path in (ASK, "/workflows/nope/1", "/workflows/ask/a:b"):
        problem(await here.client.request(method, path, json={}, headers=headers), 401, "unauthorized")


async def test_where_no_key_is_configured_everybody_is_refused(tmp_path: Path) -> None:
    async with edge(tmp_path, API_KEYS=None) as here:
        problem(await put(here), 401, "unauthorized")


async def test_a_callback_token_is_no_api_key(here: Edge) -> None:
    headers = {"Authorization": f"Bearer {await here.asked()}"}

    problem(await here.client.get(ASK, headers=headers), 401, "unauthorized")


# -- sub-workflows ------------------------------------------------------------


@workflow()
async def asks_below(ctx: Context, _request: Question) -> object:
    """Leave the question to a sub-workflow."""
    return await run_workflow(ctx, ask, {})


async def test_a_sub_workflow_and_its_parent_name_each_other(tmp_path: Path) -> None:
    async with edge(tmp_path, workflows=[asks_below]) as here:
        await put(here, "/workflows/asks_below/eu", body={})

        while not here.outbox.links:
            await pause(0.02)

        (step, *_) = (await get(here, "/workflows/asks_below/eu?steps=1")).json()["steps"]
        child = step["child"]
        below = (await get(here, f"/workflows/ask/{child['id']}")).json()
        page = await get(here, "/workflows/asks_below/eu", Accept="text/html")

        assert (step["name"], step["state"], child["workflow"]) == ("ask", "running", "ask")
        assert below == {**child, "state": "running", "parent": {"workflow": "asks_below", "id": "eu"}}
        assert f'href="../ask/{child["id"]}"' in page.text


# -- code that is gone --------------------------------------------------------


async def test_a_workflow_that_is_loaded_no_longer_can_be_read_and_cancelled(
    here: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unrun, "UNBEGUN_GRACE", 0.5)
    await start_root(here.engine, name="gone", workflow_id="1", text="{}", group="default", timeout=timedelta(days=1))

    assert (await get(here, "/workflows/gone/1")).json() == {"workflow": "gone", "id": "1", "state": "running"}
    assert (await here.client.delete("/workflows/gone/1", headers=AUTHORISED)).status_code == 202
    ended = (await get(here, "/workflows/gone/1", Prefer="wait=20")).json()
    assert ended["state"] == "cancelled"
    assert ended["error"]["message"].startswith("the workflow was cancelled: no worker ran its code")
    problem(await put(here, "/workflows/gone/1"), 404, "unknown-workflow")
    problem(await get(here, "/workflows/gone/2"), 404, "unknown-workflow")
    problem(await get(here, "/workflows/countersign~x/2"), 404, "unknown-workflow")
