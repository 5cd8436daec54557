"""Records that cannot be relied on are listed as such and never break a list; tags hold nothing that is secret."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.configuration import fresh_key, settings
from support.listed import ids, listed, rows, until, waits
from support.plant import KNOWN, plant

from orchestrator.engine.search import Found, Position
from orchestrator.runs.listing import WorkflowFilter, list_workflows
from orchestrator.stored_names import NONCE_TAG, STATE_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from resonate.connections.local import DurablePromise
    from support.plant import Plant

    from orchestrator.engine.search import RootSearch, WaitSearch

URL = "memory://"
ADA = "ada@example.org"
TAMPERED = "the store was tampered with"
UNREADABLE = "its record cannot be read: a payload key is missing, or the store is damaged"


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    monkeypatch.setitem(KNOWN, URL, settings(tmp_path, URL, PAYLOAD_KEYS=fresh_key()))

    async with plant(tmp_path, URL, listed) as one:
        yield one


def held(here: Plant, promise_id: str) -> DurablePromise:
    search: Any = here.engine.search
    promise: DurablePromise = search._durable.state.promises[promise_id]

    return promise


async def test_a_workflow_whose_end_was_changed_is_listed_as_that(here: Plant) -> None:
    await here.start("1")
    await here.ended("1")
    await here.start("2", fails=True)
    await here.ended("2")
    held(here, "listed.2").value = held(here, "listed.1").value

    second, first = await rows(here)

    assert (second.name.id, second.state, second.fault) == ("2", "failed", TAMPERED)
    assert (first.name.id, first.state, first.fault) == ("1", "succeeded", None)


async def test_a_header_that_was_changed_shows_no_other_state(here: Plant) -> None:
    await here.start("1", fails=True)
    await here.ended("1")
    root = held(here, "listed.1")
    value = msgspec.json.decode(bytes(root.value))
    assert value["headers"] == {STATE_HEADER: "failed"}
    root.value = msgspec.Raw(msgspec.json.encode({**value, "headers": {STATE_HEADER: "succeeded"}}))

    states: tuple[dict[str, Any], ...] = ({}, {"state": "failed"})

    for chosen in states:
        (row,) = await rows(here, **chosen)
        assert (row.state, row.fault) == ("failed", TAMPERED)


async def test_no_filter_hides_a_workflow_whose_record_was_changed(here: Plant) -> None:
    await here.start("ended")
    await here.ended("ended")
    await here.start("open", waits=True)
    await here.opened("listed.open:1")
    held(here, "listed.ended").value = held(here, "listed.open:1").param
    held(here, "listed.open").param = held(here, "listed.ended").param

    # The engine knows them by the states in which it has them.
    for state, changed in (("succeeded", "ended"), ("running", "open")):
        (row,) = await rows(here, state=state)
        assert (row.name.id, row.state, row.fault) == (changed, "failed", TAMPERED)

    assert {row.name.id for row in await rows(here)} == {"ended", "open"}


@pytest.mark.parametrize("subject", ["", "somebody"], ids=["removed", "replaced"])
async def test_no_filter_hides_a_wait_whose_record_was_changed(here: Plant, tmp_path: Path, subject: str) -> None:
    await here.start("1", people=[ADA])
    await here.start("2", waits=True, subject=subject)

    for name in ("1", "2"):
        await here.opened(f"listed.{name}:1")

    held(here, "listed.1:1").param = held(here, "listed.2:1").param

    async with plant(tmp_path, URL, listed, working=False) as elsewhere:
        for promise_id in ("listed.1", "listed.2", "listed.1:1", "listed.2:1"):
            search: Any = elsewhere.engine.search
            search._durable.state.promises[promise_id] = held(here, promise_id)

        filters: tuple[dict[str, Any], ...] = ({}, {"person": ADA}, {"audience": "approver"})

        for chosen in filters:
            found = {wait.name.id: wait.fault for wait in await waits(elsewhere, **chosen)}
            assert found["1"] == TAMPERED

        assert ids(await waits(elsewhere, person="bob@example.org")) == []
        assert ids(await waits(elsewhere, audience="machine")) == ["2"]


async def test_a_root_that_countersign_did_not_start_is_listed_as_one_that_cannot_be_read(here: Plant) -> None:
    await here.engine.promises.create("listed.1", timeout_at=2**42, param="odd", tags={NONCE_TAG: "a"})

    (row,) = await rows(here)

    assert (row.name.id, row.state, row.fault) == ("1", "running", UNREADABLE)


async def test_a_wait_whose_record_was_changed_is_listed_as_that(here: Plant) -> None:
    for name in ("1", "2"):
        await here.start(name, people=[ADA])
        await here.opened(f"listed.{name}:1")

    held(here, "listed.2:1").param = held(here, "listed.1:1").param

    assert [row.fault for row in await waits(here)] == [None, TAMPERED]


async def test_what_an_engine_finds_is_listed_only_if_the_record_itself_fits(
    here: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.start("1", fails=True)
    await here.ended("1")

    for name, person in (("2", ADA), ("3", "bob@example.org")):
        await here.start(name, people=[person])
        await here.opened(f"listed.{name}:1")

    await here.start("4", waits=True)
    await here.opened("listed.4:1")
    search = here.engine.search
    roots, open_waits = search.roots, search.waits
    monkeypatch.setattr(search, "roots", lambda one: roots(replace(one, statuses=frozenset())))
    monkeypatch.setattr(search, "waits", lambda one: open_waits(replace(one, audience=None, people=frozenset())))

    assert ids(await rows(here, state="failed")) == ["1"]
    assert ids(await rows(here, state="succeeded")) == []
    assert ids(await waits(here, person="bob@example.org")) == ["3"]
    assert ids(await waits(here, audience="machine")) == ["4"]


async def test_a_wait_that_an_engine_has_not_ended_yet_is_over_at_its_deadline(
    here: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.start("1", waits=True, seconds=86_400)
    wait = await here.opened("listed.1:1")
    assert ids(await waits(here)) == ["1"]

    async def late(_: WaitSearch) -> Found:
        return Found(records=[msgspec.structs.replace(wait, timeout_at=wait.created_at)], next=None)

    monkeypatch.setattr(here.engine.search, "waits", late)

    assert await waits(here) == []


async def test_a_page_asks_a_bounded_number_of_times_and_says_where_the_next_one_begins(
    here: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RootSearch] = []

    async def nothing_yet(search: RootSearch) -> Found:
        asked.append(search)

        return Found(records=[], next=Position(1000 - len(asked), "a.b"))

    monkeypatch.setattr(here.engine.search, "roots", nothing_yet)
    page = await list_workflows(here.engine, WorkflowFilter())

    assert (page.rows, page.next) == ([], Position(1000 - len(asked), "a.b"))
    assert len(asked) < 10


async def test_a_payload_under_a_key_that_is_missing_is_listed_as_that(
    here: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.start("1")
    await here.ended("1")
    await here.start("2", people=[ADA])
    await here.opened("listed.2:1")
    monkeypatch.setitem(KNOWN, URL, settings(tmp_path, URL, PAYLOAD_KEYS=fresh_key()))

    async with plant(tmp_path, URL, listed, working=False) as elsewhere:
        for promise_id in ("listed.1", "listed.2", "listed.2:1"):
            search: Any = elsewhere.engine.search
            search._durable.state.promises[promise_id] = held(here, promise_id)

        found, open_ = await rows(elsewhere), await waits(elsewhere)

    assert {(row.name.id, row.state) for row in found} == {("1", "succeeded"), ("2", "running")}
    faults = [row.fault or "" for row in found] + [wait.fault or "" for wait in open_]
    assert ["payload key is missing" in fault for fault in faults] == [True, True, True]
    assert [(wait.audience, wait.title, wait.people) for wait in open_] == [("approver", None, None)]


async def test_no_tag_has_a_person_a_title_or_a_subject(here: Plant) -> None:
    await here.start("1", people=[ADA, "bob@example.org"])
    await here.opened("listed.1:1")
    await here.start("2", waits=True, subject=ADA)
    await here.opened("listed.2:1")
    search: Any = here.engine.search
    text = " ".join(str(promise.tags) for promise in search._durable.state.promises.values())

    assert ids(await until(lambda: waits(here, person=ADA, audience="approver"), 1)) == ["1"]
    assert [wait.subject for wait in await waits(here, audience="machine")] == [ADA]

    # A digest may contain "ada" alone.
    for secret in ("ada@", "bob", "example.org", "Ship"):
        assert secret not in text
