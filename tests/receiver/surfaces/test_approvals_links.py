"""Links that are not valid, or not any more: the same page, whatever is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from resonate.types import Value
from support.approving import Desk, claims_of, desk, forged, seen, signer

from orchestrator.callbacks.question import digest_of
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret
from orchestrator.runs.cancellation import request_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def test_a_link_that_is_not_ours_is_one_page_whatever_is_wrong_with_it(here: Desk) -> None:
    link = await here.ask()
    claims = claims_of(here, link)
    token = link.rpartition("/")[2]
    machine = signer(here).mint(replace(claims, audience="machine"))
    foreign = TokenSigner([Secret(b"x" * 32)]).mint(claims)
    of_root = digest_of(await here.engine.promises.get("consult.1"))
    root = signer(here).mint(replace(claims, promise_id="consult.1", question="consult.1", digest=of_root))
    pages = set()

    for bad in (token[:-1], f"{token}A", token.replace(".", "x"), machine, foreign, root, "x", "%00", "a" * 3000):
        for method in ("GET", "POST"):
            form = {"decision": "approve"} if method == "POST" else None
            pages.add(seen(await here.client.request(method, f"/approvals/{bad}", data=form), 404))

    assert len(pages) == 1
    assert await here.state() == "pending"
    assert "invalid" not in pages.pop()


async def test_a_link_is_no_machine_s_callback(here: Desk) -> None:
    link = await here.ask()

    answer = await here.client.post(f"/callbacks/{link.rpartition('/')[2]}", json=1)
    assert answer.status_code == 401
    assert await here.state() == "pending"


@pytest.mark.parametrize(
    "changed", [{"digest": "0" * 64}, {"digest": None, "question": None}, {"question": "consult.2:1"}]
)
async def test_a_link_made_for_another_question_shows_and_records_nothing(
    here: Desk, changed: dict[str, str | None]
) -> None:
    link = forged(here, await here.ask(), **changed)

    assert "Ship it?" not in seen(await here.client.get(link), 404)
    seen(await here.post(link), 404)
    assert await here.state() == "pending"


async def test_a_question_that_was_changed_in_the_store_is_neither_shown_nor_decided(here: Desk) -> None:
    link = await here.ask()
    get = here.engine.promises.get

    async def tampered(promise_id: str) -> Any:
        record = await get(promise_id)
        asked: Any = record.param.data
        changed = asked | {"question": asked["question"] | {"title": "Something harmless?"}}

        return msgspec.structs.replace(record, param=Value(data=changed))

    here.engine.promises.get = tampered  # type: ignore[method-assign]
    assert "harmless" not in seen(await here.client.get(link), 404)
    seen(await here.post(link), 404)
    here.engine.promises.get = get  # type: ignore[method-assign]
    assert await here.state() == "pending"


async def test_after_its_expiry_a_link_is_closed(here: Desk) -> None:
    expired = forged(here, await here.ask(), expires_at=1)

    assert "time to answer is over" in seen(await here.client.get(expired), 410)
    assert "time to answer is over" in seen(await here.post(expired), 410)
    assert await here.state() == "pending"


async def test_what_was_decided_is_still_shown_after_the_expiry(here: Desk) -> None:
    link = await here.ask()
    await here.post(link)
    expired = forged(here, link, expires_at=1)

    assert "Approved" in seen(await here.client.get(expired))
    assert (await here.post(expired)).status_code == 303
    seen(await here.post(expired, "reject"), 409)


async def test_after_the_deadline_a_link_is_closed(here: Desk) -> None:
    link = await here.ask(deadline=2)
    await here.ended()

    assert "time to answer is over" in seen(await here.client.get(link), 410)
    assert "time to answer is over" in seen(await here.post(link), 410)


async def test_after_a_cancel_a_link_says_that_it_was_withdrawn(here: Desk) -> None:
    link = await here.ask()
    await request_cancel(here.engine, "consult.1")

    assert "withdrawn" in seen(await here.client.get(link), 410)
    assert "withdrawn" in seen(await here.post(link), 410)


async def test_a_link_whose_wait_the_engine_does_not_know_is_not_valid(here: Desk) -> None:
    link = await here.ask()
    unknown = {"promise_id": "consult.9:1", "question": "consult.9:1"}

    seen(await here.client.get(forged(here, link, **unknown)), 404)
    seen(await here.client.get(forged(here, link, **unknown, expires_at=1)), 410)


async def test_many_bad_links_slow_down_their_address_and_never_a_good_one(here: Desk) -> None:
    link = await here.ask()
    answers = [await here.client.get("/approvals/bad") for _ in range(61)]

    assert [answer.status_code for answer in answers] == [404] * 60 + [429]
    seen(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) > 0
    assert (await here.client.get(link)).status_code == 200
