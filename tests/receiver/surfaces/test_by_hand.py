"""Answering by hand over HTTP, on every engine: what is recorded, what everybody is told, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from support.approving import Desk, desk
from support.by_hand import KEY, REASON, answer, opened, payment, waiting
from support.configuration import API_KEY
from support.edge import ask, edge, get, minted, problem, put

from orchestrator.by_hand.answering import HandAnswer, answer_by_hand
from orchestrator.errors import EngineUnavailable
from orchestrator.runs.cancellation import request_cancel
from receiver.http.auth import ApiKeys
from receiver.http.bad_tokens import BadTokens
from receiver.http.problems import Problem
from receiver.http.telemetry import Metrics
from receiver.surfaces.by_hand import ByHand
from receiver.surfaces.edge import Edge as Shared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conftest import Start


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Desk]:
    async with desk(tmp_path, engine_url, workflows=(payment,)) as one:
        yield one


async def test_an_open_wait_is_answered_and_the_answer_says_who_gave_it_and_why(here: Desk) -> None:
    await waiting(here)
    given = await answer(here, body={"amount": 12})

    document = given.json()
    assert given.status_code == 200
    assert given.headers["cache-control"] == "no-store"
    assert document.pop("settled_at").endswith("Z")
    assert document == {
        "workflow": "payment",
        "id": "1",
        "callback": "paid",
        "step": "payment.1:1",
        "state": "settled",
        "duplicate": False,
    }
    ended = await here.ended(name="payment", steps=True)
    assert ended["result"] == [["succeeded", {"amount": 12}, "operator", "tests", REASON]]
    assert ended["steps"][0]["settled"] == {
        "outcome": "succeeded",
        "by": "operator",
        "operator": "tests",
        "reason": REASON,
    }


async def test_without_a_body_a_success_has_null_and_a_failure_the_reason(here: Desk) -> None:
    await waiting(here, rounds=2)
    assert (await answer(here)).status_code == 200
    await opened(here, "payment.1:2")
    assert (await answer(here, outcome="failed")).status_code == 200

    results = (await here.ended(name="payment"))["result"]
    assert [(kind, value) for kind, value, *_ in results] == [("succeeded", None), ("failed", {"message": REASON})]


async def test_a_request_that_is_sent_again_does_nothing_more_also_in_the_next_round(here: Desk) -> None:
    await waiting(here, rounds=2)
    first = (await answer(here, body=1)).json()
    await opened(here, "payment.1:2")

    again = (await answer(here, body=1)).json()
    assert (again["duplicate"], again["step"], again["settled_at"]) == (True, "payment.1:1", first["settled_at"])
    assert await here.state("payment.1:2") == "pending"

    other = (await answer(here, body=2)).json()
    assert (other["duplicate"], other["step"]) == (False, "payment.1:2")
    assert [value for _, value, *_ in (await here.ended(name="payment"))["result"]] == [1, 2]


async def test_the_same_words_for_another_round_need_a_key_or_the_step_of_that_round(here: Desk) -> None:
    await waiting(here, rounds=3)
    keyed: dict[str, Any] = {"headers": {"Idempotency-Key": "a"}}
    assert (await answer(here, **keyed)).json()["duplicate"] is False
    await opened(here, "payment.1:2")
    assert (await answer(here, **keyed)).json()["duplicate"] is True
    problem(await answer(here, body=2, **keyed), 422, "ikey-reused")
    problem(await answer(here, reason="another", **keyed), 422, "ikey-reused")
    assert (await answer(here, headers={"Idempotency-Key": "b"})).json()["step"] == "payment.1:2"

    await opened(here, "payment.1:3")
    assert (await answer(here, step="payment.1:3")).json()["step"] == "payment.1:3"
    problem(await answer(here, step="payment.1:4"), 404, "unknown-callback")


async def test_a_hundred_identical_requests_at_once_settle_it_once(here: Desk) -> None:
    await waiting(here, rounds=2)
    answers = await asyncio.gather(*(answer(here) for _ in range(100)))

    assert {each.status_code for each in answers} == {200}
    assert [each.json()["duplicate"] for each in answers].count(False) == 1
    assert {each.json()["step"] for each in answers} == {"payment.1:1"}
    await opened(here, "payment.1:2")
    assert await here.state("payment.1:2") == "pending"


async def test_what_is_settled_otherwise_is_refused_with_when_and_by_whom_and_not_with_what(here: Desk) -> None:
    await waiting(here)
    assert (await answer(here, body="a secret")).status_code == 200

    for other in ({"outcome": "failed"}, {"body": "another"}, {"reason": "another"}):
        refused = problem(await answer(here, **other), 409, "already-settled")
        assert refused["by"] == "operator"
        assert refused["settled_at"].endswith("Z")
        assert "a secret" not in str(refused)


async def test_a_wait_that_is_closed_is_expired(here: Desk) -> None:
    await waiting(here)
    await request_cancel(here.engine, "payment.1")
    await here.ended(name="payment")

    assert "expires_at" in problem(await answer(here), 410, "expired")
    late = HandAnswer(outcome="succeeded", reason=REASON, by="tests")
    assert (await answer_by_hand(here.engine, "payment.1", "paid", late)).verdict == "closed"


async def test_what_does_not_fit_is_refused_with_the_field_named_and_the_wait_stays_open(here: Desk) -> None:
    await waiting(here, outcomes=["succeeded"])

    for field, wrong in (
        ("outcome", {"outcome": "failed"}),
        ("outcome", {"outcome": "died"}),
        ("outcome", {"outcome": "expired"}),
        ("outcome", {"outcome": 1}),
        ("outcome", {"outcome": ...}),
        ("reason", {"reason": ...}),
        ("reason", {"reason": " \n"}),
        ("reason", {"reason": "x" * 2001}),
        ("reason", {"reason": None}),
        ("step", {"step": 1}),
        ("body", {"by": "somebody else"}),
    ):
        refused = problem(await answer(here, **wrong), 422, "invalid-input")
        assert [fault["field"] for fault in refused["errors"]] == [field]

    problem(await here.client.post("/workflows/payment/1/callbacks/paid", json=[1], headers=KEY), 422, "invalid-input")
    assert await here.state("payment.1:1") == "pending"
    assert (await answer(here)).status_code == 200


async def test_a_failure_has_the_form_of_every_failure(here: Desk) -> None:
    await waiting(here)

    for wrong in ("text", {"message": 1}, {"message": "no", "more": 1}):
        refused = problem(await answer(here, outcome="failed", body=wrong), 422, "invalid-input")
        assert refused["errors"][0]["field"] == "body"

    assert (await answer(here, outcome="failed", body={"message": "no", "details": [1]})).status_code == 200


async def test_what_is_unknown_is_said_to_be(here: Desk) -> None:
    await waiting(here)

    problem(await answer(here, "payment/2/callbacks/paid"), 404, "unknown-id")
    problem(await answer(here, "nothing/1/callbacks/paid"), 404, "unknown-workflow")
    problem(await answer(here, "payment/1/callbacks/other"), 404, "unknown-callback")
    problem(await answer(here, f"payment/1/callbacks/{'x' * 65}"), 404, "unknown-callback")
    problem(await answer(here, "payment/1/callbacks/a%0Ab"), 404, "unknown-callback")
    problem(await answer(here, "payment/a%20b/callbacks/paid"), 422, "invalid-id")


async def test_a_name_that_no_callback_can_have_reaches_neither_the_engine_nor_the_log(
    here: Desk, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: Any) -> None:
        raise EngineUnavailable("it did not answer")

    monkeypatch.setattr(here.engine.promises, "get", unavailable)
    log = start("debug")

    for callback in ("x" * 65, "a%0Ab", "a%20b", "%C3%A9"):
        problem(await answer(here, f"payment/1/callbacks/{callback}"), 404, "unknown-callback")
        problem(await answer(here, f"payment/1/callbacks/{callback}/remind", ...), 404, "unknown-callback")

    assert "by hand" not in log.getvalue()


@pytest.mark.parametrize("role", ["read", "start"])
async def test_only_the_role_operate_may_do_it_and_no_other_learns_anything(tmp_path: Path, role: str) -> None:
    key = secrets.token_urlsafe(32)
    spec = ",".join(
        f"{name}:{hashlib.sha256(text.encode()).hexdigest()}:{may}"
        for name, text, may in (("ops", API_KEY, "operate"), ("low", key, role))
    )

    async with desk(tmp_path, workflows=(payment,), API_KEYS=spec) as here:
        await waiting(here)
        low: dict[str, Any] = {"headers": {"Authorization": f"Bearer {key}"}}

        for callback in ("payment/1/callbacks/paid", "payment/1/callbacks/no", "payment/2/callbacks/paid"):
            problem(await answer(here, callback, **low), 403, "forbidden")
            problem(await answer(here, f"{callback}/remind", ..., **low), 403, "forbidden")

        problem(await answer(here, headers={"Authorization": "Bearer wrong"}), 401, "unauthorized")
        assert await here.state("payment.1:1") == "pending"
        assert (await answer(here)).json()["state"] == "settled"


async def test_the_page_of_the_run_and_the_log_say_it_and_the_metrics_count_it(here: Desk, start: Start) -> None:
    log = start("debug")
    await waiting(here)
    reason = "<b>because</b>"
    await answer(here, reason=reason, body="a secret")
    await answer(here, reason=reason, body="a secret")
    await answer(here, outcome="failed")

    page = await here.client.get("/workflows/payment/1", headers=KEY | {"Accept": "text/html"})
    assert "answered by hand by tests (succeeded): &lt;b&gt;because&lt;/b&gt;" in page.text
    lines = [line for line in log.getvalue().splitlines() if "by hand" in line]
    assert [line.partition("by_hand ")[2] for line in lines] == [
        "payment.1 callback paid answered by hand by=tests client=127.0.0.1"
    ]
    assert not any(secret in log.getvalue() for secret in ("a secret", "because", API_KEY))
    metrics = (await here.client.get("/metrics", headers=KEY)).text
    assert 'countersign_by_hand_total{action="answer",result="done"} 1.0' in metrics
    assert 'countersign_by_hand_total{action="answer",result="duplicate"} 1.0' in metrics
    assert 'countersign_by_hand_total{action="answer",result="refused"} 1.0' in metrics


async def test_an_answer_whose_confirmation_was_lost_is_logged_with_maybe_and_safe_to_repeat(
    here: Desk, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await waiting(here, rounds=2)
    resolve = here.engine.promises.resolve

    async def loses_the_answer(*args: Any) -> None:
        await resolve(*args)
        raise EngineUnavailable("it did not answer")

    log = start("info")

    with monkeypatch.context() as patch:
        patch.setattr(here.engine.promises, "resolve", loses_the_answer)
        problem(await answer(here), 503, "engine-unavailable")

    assert " payment.1 maybe callback paid answered by hand by=tests " in log.getvalue()
    await opened(here, "payment.1:2")
    assert (await answer(here)).json()["duplicate"] is True
    assert await here.state("payment.1:2") == "pending"


async def test_a_run_that_is_started_again_says_from_which_run_by_whom_and_why(tmp_path: Path, start: Start) -> None:
    async with edge(tmp_path) as here:
        await put(here, body={"name": "a-secret"})
        metrics = Metrics()
        surface = ByHand(
            Shared(
                engine=here.engine,
                signer=minted(here).signer,
                metrics=metrics,
                bad_tokens=BadTokens(),
                max_body=1000,
            ),
            api_keys=ApiKeys({}, BadTokens()),
            root_of=lambda _: "",
            unknown=lambda _: Problem("unknown-id"),
        )
        log = start("info")
        scope = {"type": "http", "client": ("192.0.2.1", 1)}
        views = [
            await surface.start_again(scope, ask, "ask.1", by="ops", reason="because", key="form") for _ in range(2)
        ]

        new = views[0].root_id.removeprefix("ask.")
        document = (await get(here, f"/workflows/ask/{new}")).json()
        assert document["again"] == {"of": {"workflow": "ask", "id": "1"}, "by": "ops", "reason": "because"}
        assert "again" not in (await get(here)).json()
        lines = [line.partition("by_hand ")[2] for line in log.getvalue().splitlines() if "by_hand " in line]
        assert lines == [f"ask.{new} started again from ask.1 by=ops client=192.0.2.1"]
        counted = metrics.render()[0].decode()
        assert 'countersign_by_hand_total{action="start_again",result="done"} 1.0' in counted
        assert 'countersign_by_hand_total{action="start_again",result="duplicate"} 1.0' in counted
