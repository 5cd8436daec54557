"""Requests that skip the network's envelopes get what the SDK's own way of sending them gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from resonate.error import DecodingError, ServerError
from resonate.resonate import Resonate
from resonate.send import ScheduleCreateReq, Sender
from resonate.types import PromiseCreateReq, PromiseRegisterCallbackData, PromiseSettleReq, Value
from support.configuration import settings
from support.embedded import FAR, TARGET, Time, engine, state_of

from orchestrator.engine import connect
from orchestrator.engine.embedded.connection import EmbeddedConnection
from orchestrator.engine.embedded.direct_send import send_directly

type Request = Callable[[Sender], Any]

BRANCH = TARGET | {"resonate:branch": "w", "resonate:origin": "w"}
DATA = Value(data="aGk=")


def creation(id_: str, tags: Mapping[str, str] = BRANCH, param: Value = DATA) -> PromiseCreateReq:
    return PromiseCreateReq(id=id_, timeout_at=FAR, param=param, tags=dict(tags))


def settlement(id_: str, value: Value = DATA) -> PromiseSettleReq:
    return PromiseSettleReq(id=id_, state="resolved", value=value)


def await_of(id_: str) -> list[PromiseRegisterCallbackData]:
    return [PromiseRegisterCallbackData(awaited=id_, awaiter="w")]


#: One course of a workflow, with a refusal of each sort.
COURSE: tuple[tuple[str, Request], ...] = (
    ("unknown", lambda it: it.promise_get("w")),
    ("create", lambda it: it.promise_create(creation("w"))),
    ("create again", lambda it: it.promise_create(creation("w"))),
    ("create without a param", lambda it: it.promise_create(creation("v", {}, Value()))),
    ("acquire", lambda it: it.task_acquire("w", 0, "p", 50)),
    ("acquire twice", lambda it: it.task_acquire("w", 0, "p", 50)),
    ("acquire the unknown", lambda it: it.task_acquire("u", 0, "p", 50)),
    ("create below", lambda it: it.task_fence_create("w", 0, creation("w:1", {"resonate:branch": "w"}))),
    ("settle below", lambda it: it.task_fence_settle("w", 0, settlement("w:1"))),
    ("under an old lease", lambda it: it.task_fence_settle("w", 7, settlement("w:1"))),
    ("await", lambda it: it.task_fence_create("w", 0, creation("w:2", {"resonate:branch": "w"}))),
    ("suspend", lambda it: it.task_suspend("w", 0, await_of("w:2"))),
    ("listen", lambda it: it.promise_register_listener("w:2", "local://uni@default/default")),
    ("settle", lambda it: it.promise_settle(settlement("w:2", Value(headers={"a": "b"}, data="aGk=")))),
    ("settle again", lambda it: it.promise_settle(settlement("w:2", Value()))),
    ("take on", lambda it: it.task_acquire("w", 1, "p", 50)),
    ("suspend in vain", lambda it: it.task_suspend("w", 1, await_of("w:2"))),
    ("release", lambda it: it.task_release("w", 1)),
    ("take again", lambda it: it.task_acquire("w", 2, "p", 50)),
    ("beat", lambda it: it.task_heartbeat("p", [])),
    ("fulfil", lambda it: it.task_fulfill("w", 2, settlement("w"))),
    ("create a task", lambda it: it.task_create("p", 50, creation("t"))),
    ("create a taken task", lambda it: it.task_create("p", 50, creation("t"))),
    ("create a taken task or not", lambda it: it.task_create_or_conflict("p", 50, creation("t"))),
    ("no such request", lambda it: it.promise_search(None, None, None, None)),
    (
        "schedule",
        lambda it: it.schedule_create(
            ScheduleCreateReq(
                id="s", cron="* * * * *", promise_id="x", promise_timeout=5, promise_param=DATA, promise_tags=TARGET
            )
        ),
    ),
    ("schedules", lambda it: it.schedule_search(None, None, None)),
    ("end the schedule", lambda it: it.schedule_delete("s")),
)


@pytest.fixture
async def both(path: Path) -> AsyncIterator[tuple[Sender, Sender]]:
    """The SDK's sender over an engine, and one that skips the envelopes, over another engine."""
    time = Time()

    async with engine(path, time) as one, engine(path.with_name("other.db"), time) as other:
        theirs, ours = (
            Resonate(network=each, env={}, subscription_refresh_secs=0, autostart=False) for each in (one, other)
        )
        send_directly(ours, other)
        yield theirs.promises.sender, ours.promises.sender


async def answer(sender: Sender, request: Request) -> object:
    """Return the fields of the reply, whatever holds them, or the refusal."""
    try:
        reply = await request(sender)
    except ServerError as error:
        return error.code, error.message

    return msgspec.structs.asdict(reply) if isinstance(reply, msgspec.Struct) else reply


async def test_every_reply_and_refusal_is_that_of_the_sdks_own_way(both: tuple[Sender, Sender]) -> None:
    theirs, ours = both

    for what, request in COURSE:
        expected = await answer(theirs, request)

        assert (what, await answer(ours, request)) == (what, expected)


async def test_the_client_of_an_embedded_engine_sends_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await connect(settings(tmp_path, "memory://"), work=True)
    monkeypatch.delattr(EmbeddedConnection, "send")

    assert (await one.promises.create("w", timeout_at=FAR, param=1, tags={})).param.data == 1

    monkeypatch.undo()
    await one.stop()


async def test_a_reply_belongs_to_its_caller(path: Path) -> None:
    async with engine(path) as connection:
        resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0, autostart=False)
        send_directly(resonate, connection)
        record = await resonate.promises.create("w", FAR, Value(data=1), {"a": "b"})
        record.tags.clear()

        assert (await resonate.promises.get("w")).tags == {"a": "b"}


async def test_text_that_no_file_can_hold_is_refused_before_it_changes_anything(both: tuple[Sender, Sender]) -> None:
    _, ours = both

    for request in (creation("\ud800"), creation("w", {"a": "\ud800"}), creation("w", {}, Value(data="\ud800"))):
        with pytest.raises(ValueError, match="surrogates"):
            await ours.promise_create(request)

    assert (await ours.promise_create(creation("w"))).state == "pending"


async def test_a_param_that_is_not_the_sdks_is_refused_by_the_sdk(path: Path) -> None:
    async with engine(path) as connection:
        resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0, autostart=False)
        send_directly(resonate, connection)
        await connection.ask({"kind": "promise.create", "id": "w", "timeoutAt": FAR, "param": 7, "tags": {}})

        with pytest.raises(DecodingError):
            await resonate.promises.get("w")

        assert await state_of(connection, "w") == "pending"


async def test_such_a_record_is_left_out_of_what_comes_with_a_task_and_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine(path) as connection:
        resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0, autostart=False)
        send_directly(resonate, connection)
        sender = resonate.promises.sender
        await sender.promise_create(creation("w"))
        tags = {"resonate:branch": "w"}
        await connection.ask({"kind": "promise.create", "id": "w:1", "timeoutAt": FAR, "param": 7, "tags": tags})
        await sender.promise_create(creation("w:2", tags))
        taken = await sender.task_acquire("w", 0, "p", 50)

        assert [record.id for record in taken.preload] == ["w:2"]
        assert "the SDK dropped a preload-record of w:1" in caplog.text
