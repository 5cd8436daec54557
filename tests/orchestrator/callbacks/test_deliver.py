"""Delivering with a token: how a wait ends or is found, by what the engine holds and whether the token has expired."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest
from resonate.types import PromiseRecord, Value

from orchestrator.callbacks.claims import Claims, Presented, TokenExpired
from orchestrator.callbacks.deliver import WaitReplaced, deliver, wait_of
from orchestrator.callbacks.outcomes import Outcome, envelope
from orchestrator.durable.opened_at import MARK
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    from orchestrator.engine.promises import Promises

CLAIMS = Claims(
    promise_id="w.1:1",
    callback="run-1",
    audience="machine",
    subject="job 7",
    outcomes=("succeeded", "failed"),
    expires_at=2_000,
    opened_at=4,
)
OUTCOME = Outcome(kind="succeeded", callback="run-1", by="callback", body="[1]", subject="job 7")
OTHER = Outcome(kind="failed", callback="run-1", by="callback", body='{"message": "x"}', subject="job 7")
FRESH = Presented(claims=CLAIMS, expired=False)
EXPIRED = Presented(claims=CLAIMS, expired=True)


class Store:
    """The one promise of an engine, as its client shows it; None where the engine holds none."""

    def __init__(self, record: PromiseRecord | None) -> None:
        self.record = record
        self.resolved: list[Any] = []

    async def get(self, promise_id: str) -> PromiseRecord:
        if self.record is None:
            raise UnknownPromise(promise_id)

        return self.record

    async def resolve(self, promise_id: str, value: object) -> PromiseRecord:
        self.resolved.append(value)
        record = await self.get(promise_id)

        if record.state == "pending":
            self.record = record_of("resolved", value)

        return await self.get(promise_id)


def record_of(state: Any, value: object = None, *, created_at: int = 4) -> PromiseRecord:
    return PromiseRecord(
        id="w.1:1",
        state=state,
        value=Value(data=value),
        timeout_at=9,
        settled_at=None if state == "pending" else 5,
        created_at=created_at,
        tags=MARK,
    )


def settled(outcome: Outcome, ikey: str) -> PromiseRecord:
    return record_of("resolved", envelope("w.1:1", outcome, ikey=ikey, delivery="earlier", opened=4))


PENDING = record_of("pending")
RECORDS = {
    "pending": PENDING,
    "settled by this key": settled(OUTCOME, "k"),
    "settled by this key otherwise": settled(OTHER, "k"),
    "settled by another key": settled(OUTCOME, "other"),
    "withdrawn": settled(Outcome(kind="cancelled", callback="run-1", by="workflow"), "workflow:cancelled"),
    "closed at its deadline": record_of("resolved"),
    "rejected by somebody with access to the engine": record_of("rejected", "x"),
    "opened again": record_of("pending", created_at=7),
    "unknown": None,
}


async def verdict(store: Store, presented: Presented, ikey: str = "k") -> str:
    """Return what became of a delivery, or the name of the error."""
    promises = cast("Promises", store)

    try:
        return (await deliver(promises, await wait_of(promises, presented), OUTCOME, ikey)).verdict
    except (TokenExpired, UnknownPromise, WaitReplaced) as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("held", "fresh", "expired"),
    [
        ("pending", "applied", "TokenExpired"),
        ("settled by this key", "duplicate", "duplicate"),
        ("settled by this key otherwise", "ikey_reused", "ikey_reused"),
        ("settled by another key", "other", "other"),
        ("withdrawn", "closed", "closed"),
        ("closed at its deadline", "closed", "closed"),
        ("rejected by somebody with access to the engine", "closed", "closed"),
        ("opened again", "WaitReplaced", "WaitReplaced"),
        ("unknown", "UnknownPromise", "TokenExpired"),
    ],
)
async def test_what_becomes_of_a_delivery(held: str, fresh: str, expired: str) -> None:
    assert await verdict(Store(RECORDS[held]), FRESH) == fresh
    assert await verdict(Store(RECORDS[held]), EXPIRED) == expired


@pytest.mark.parametrize("held", [held for held in RECORDS if held != "pending"])
@pytest.mark.parametrize("presented", [FRESH, EXPIRED])
async def test_nothing_is_written_unless_the_wait_is_open(held: str, presented: Presented) -> None:
    store = Store(RECORDS[held])

    await verdict(store, presented)

    assert store.resolved == []


async def test_an_expired_token_writes_nothing() -> None:
    store = Store(PENDING)

    await verdict(store, EXPIRED)

    assert store.resolved == []


async def test_what_settles_is_bound_to_the_wait_of_the_token() -> None:
    store = Store(PENDING)

    await verdict(store, FRESH)

    assert [(value["promise"], value["opened"], value["ikey"]) for value in store.resolved] == [("w.1:1", 4, "k")]


async def test_a_wait_that_somebody_else_settles_first_is_reported_as_theirs() -> None:
    store = Store(PENDING)
    promises = cast("Promises", store)
    wait = await wait_of(promises, FRESH)
    store.record = settled(OUTCOME, "other")

    settlement = await deliver(promises, wait, OUTCOME, "k")

    assert (settlement.verdict, settlement.settled.ikey) == ("other", "other")


@pytest.mark.parametrize(("presented", "kept"), [(FRESH, ["w.1:1"]), (EXPIRED, [])])
async def test_only_a_token_that_has_not_expired_leaves_a_later_answer(
    presented: Presented, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def noticed(_: Promises, wait: PromiseRecord, *__: object) -> None:
        asked.append(wait.id)

    monkeypatch.setattr("orchestrator.callbacks.deliver.keep_if_later", noticed)

    assert await verdict(Store(RECORDS["settled by another key"]), presented) == "other"
    assert asked == kept


@pytest.mark.parametrize("presented", [FRESH, EXPIRED])
@pytest.mark.parametrize("held", [held for held, record in RECORDS.items() if record is not None])
async def test_the_surfaces_own_check_is_made_only_for_a_delivery_that_would_settle(
    held: str, presented: Presented
) -> None:
    store, made = Store(RECORDS[held]), []
    promises = cast("Promises", store)

    async def check() -> None:
        made.append(held)

    with contextlib.suppress(TokenExpired, WaitReplaced):
        await deliver(promises, await wait_of(promises, presented), OUTCOME, "k", check=check)

    assert made == (["pending"] if held == "pending" and presented is FRESH else [])


async def test_a_check_that_fails_leaves_the_wait_open() -> None:
    store = Store(PENDING)
    promises = cast("Promises", store)

    async def check() -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        await deliver(promises, await wait_of(promises, FRESH), OUTCOME, "k", check=check)

    assert store.resolved == []
