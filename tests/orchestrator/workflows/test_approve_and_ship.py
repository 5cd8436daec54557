"""A person decides whether an order is shipped: on every engine, and once over a real mail server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from support.approving import ADA, Desk, desk, link_in, seen
from support.configuration import API_KEY, fresh_key
from support.plant import pause
from support.postbox import Postbox, mailer, server

from orchestrator.errors import StepRefused
from orchestrator.runs.cancellation import request_cancel
from orchestrator.workflows import approve_and_ship
from orchestrator.workflows.approve_and_ship import ShipRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ORDER = {"order_id": "42", "approver": ADA, "summary": "Two books, paid."}


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Desk]:
    async with desk(tmp_path, engine_url) as one:
        yield one


async def begun(here: Desk, **changed: Any) -> str:
    await here.start(approve_and_ship, "1", **(ORDER | changed))
    return await here.link()


async def ended(here: Desk) -> tuple[str, Any]:
    document = await here.ended(name="approve_and_ship", steps=True)
    shipped = [step["name"] for step in document["steps"]].count("ship")
    return document["state"], {**document.get("result", {}), "shipped": shipped}


@pytest.mark.parametrize(("decision", "status"), [("approve", "shipped"), ("reject", "rejected")])
async def test_it_does_what_the_person_decides(here: Desk, decision: str, status: str) -> None:
    link = await begun(here)
    assert "Ship order 42? Two books, paid. Order 42" in seen(await here.client.get(link))
    await here.post(link, decision, comment="as agreed")

    assert await ended(here) == (
        "succeeded",
        {"status": status, "decided_by": ADA, "comment": "as agreed", "shipped": int(decision == "approve")},
    )


async def test_without_a_decision_by_the_deadline_nothing_is_shipped(here: Desk) -> None:
    await begun(here, deadline=1)

    assert await ended(here) == (
        "succeeded",
        {"status": "expired", "decided_by": None, "comment": None, "shipped": 0},
    )


async def test_the_person_is_reminded_with_the_same_link(here: Desk) -> None:
    link = await begun(here, remind_after=0.5)

    assert await here.link(number=1) == link
    await here.post(await here.link(number=2))
    assert (await ended(here))[1]["status"] == "shipped"


async def test_a_cancel_ends_it_without_shipping(here: Desk) -> None:
    link = await begun(here)
    await request_cancel(here.engine, "approve_and_ship.1")

    assert await ended(here) == ("cancelled", {"shipped": 0})
    assert "withdrawn" in seen(await here.post(link), 410)


async def test_after_a_restart_in_the_middle_the_link_still_decides(tmp_path: Path, engine_url: str) -> None:
    if engine_url == "memory://":
        pytest.skip("nothing is left of it after a restart")

    keys: dict[str, Any] = {"SIGNING_KEYS": fresh_key(), "PAYLOAD_KEYS": fresh_key()}

    async with desk(tmp_path, engine_url, **keys) as before:
        link = await begun(before, remind_after=3)

    async with desk(tmp_path, engine_url, **keys) as after:
        assert await after.link() == link, "the reminder outlives the process that scheduled it"
        assert (await after.post(link)).status_code == 303
        assert (await ended(after))[1]["status"] == "shipped"


async def test_an_address_that_is_refused_fails_it_with_the_reason(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.letters.error = StepRefused("the mail server answered 550 no such person")
        await here.start(approve_and_ship, "1", **ORDER)
        document = await here.ended(name="approve_and_ship")

    assert document["state"] == "failed"
    assert "550 no such person" in document["error"]["message"]


async def test_the_start_sent_twice_is_one_question(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        for created in (True, False):
            answer = await here.client.put(
                "/workflows/approve_and_ship/1", json=ORDER, headers={"Authorization": f"Bearer {API_KEY}"}
            )
            assert answer.json()["created"] is created

        await here.link()
        await pause(0.2)
        assert len(here.letters.sent) == 1


async def test_over_a_real_mail_server_the_link_in_either_part_leads_to_the_question(
    tmp_path: Path, certificate: Path
) -> None:
    postbox = Postbox()

    with server(postbox, certificate) as port:
        async with desk(tmp_path) as here:
            here.letters.mailer.send = mailer(port, certificate).send  # type: ignore[method-assign]
            await here.start(approve_and_ship, "1", **ORDER)

            while not postbox.messages:
                await pause(0.02)

            (mail,) = postbox.messages
            plain, rich = mail.get_body(("plain",)), mail.get_body(("html",))
            assert plain is not None
            assert rich is not None
            link = link_in(plain.get_content().replace("\r\n", "\n"))
            (button,) = re.findall(r'href="http://127.0.0.1:8000(/approvals/[^"]+)"', rich.get_content())
            assert (mail["To"], mail["Subject"], button) == (ADA, "Ship order 42?", link)
            assert "Two books, paid." in plain.get_content()
            assert not re.search(r"<img|<script|src=", rich.get_content())
            assert "Two books, paid." in seen(await here.client.get(link))
            assert (await here.post(link)).status_code == 303
            assert (await ended(here))[1]["status"] == "shipped"


@pytest.mark.parametrize(
    "wrong",
    [
        {"approver": "nobody"},
        {"approver": "a@x\r\nBcc: b@y"},
        {"order_id": ""},
        {"order_id": 42},
        {"summary": None},
        {"deadline": 0},
        {"deadline": "1"},
        {"remind_after": 0},
        {"extra": 1},
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_starts(wrong: dict[str, Any]) -> None:
    ShipRequest.model_validate(ORDER)

    with pytest.raises(ValidationError):
        ShipRequest.model_validate(ORDER | wrong)
