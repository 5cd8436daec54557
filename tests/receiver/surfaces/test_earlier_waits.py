"""A link is valid only for the wait that it was made for, never for a later one of the same id, on any engine.

Long because every surface is tested in the same way, on every engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.approving import ADA, BOB, Desk, code_in, desk, link_in, seen
from support.configuration import environment
from support.edge import Edge, edge, minted, problem
from support.engines import KINDS
from support.forgetting import Forgetful, forgetful
from support.plant import pause
from support.senders import Sender, senders, sources_file

from orchestrator.approvals.reminders import REMIND
from orchestrator.callbacks.outcomes import Outcome, read_settled
from orchestrator.callbacks.settlement import resolve
from orchestrator.durable import context
from orchestrator.durable.opened_at import MARK
from orchestrator.durable.scheduling import own_tags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=KINDS)
def forgets(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forgetful]:
    with forgetful(request.param, request, tmp_path) as one:
        yield one


async def asked_anew(here: Edge, forgets: Forgetful, workflow_id: str = "1") -> str:
    """Return the token of a later wait, once the engine has forgotten the earlier one of the same id."""
    await forgets.forget(here.engine, f"ask.{workflow_id}")
    here.outbox.links.clear()

    return await here.asked(workflow_id)


async def pending(here: Edge | Desk, promise_id: str = "ask.1:1") -> bool:
    return (await here.engine.promises.get(promise_id)).state == "pending"


# -- machine callbacks ---------------------------------------------------------


async def test_a_link_of_an_earlier_wait_is_410_everywhere_and_the_later_ones_own_settles(
    tmp_path: Path, forgets: Forgetful
) -> None:
    async with edge(tmp_path, forgets.url) as here:
        earlier = await here.asked()
        assert (await here.post(earlier, 1, headers={"Idempotency-Key": "k"})).status_code == 200
        later = await asked_anew(here, forgets)
        assert later != earlier

        for headers in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "other"}):
            problem(await here.post(earlier, 1, headers=headers), 410, "expired")

        problem(await here.post(earlier, {"message": "x"}, path="/callbacks/failure"), 410, "expired")
        answer = await here.client.get(f"/callbacks/{earlier}")
        document = problem(answer, 410, "expired")
        assert (document["callback"], document["state"]) == ("answer", "expired")
        assert (await here.client.head(f"/callbacks/{earlier}")).status_code == 410
        assert await pending(here)

        assert (await here.client.get(f"/callbacks/{later}")).json()["state"] == "pending"
        assert (await here.post(later, 2)).json()["duplicate"] is False
        # The earlier one is no duplicate of the later one either.
        problem(await here.post(earlier, 2), 410, "expired")


async def test_an_expired_link_of_an_earlier_wait_repeats_nothing_of_the_later_one(
    tmp_path: Path, forgets: Forgetful
) -> None:
    async with edge(tmp_path, forgets.url) as here:
        signer, key = minted(here).signer, {"Idempotency-Key": "k"}
        earlier = await here.asked()
        await here.post(earlier, 1, headers=key)
        later = await asked_anew(here, forgets)
        await here.post(later, 1, headers=key)
        expired, of_later = (
            signer.mint(replace(signer.verify(token, audience="machine"), expires_at=1)) for token in (earlier, later)
        )

        problem(await here.post(expired, 1, headers=key), 410, "expired")
        assert (await here.post(of_later, 1, headers=key)).json()["duplicate"] is True


async def test_a_settlement_that_meets_a_later_wait_than_it_read_settles_nothing(
    tmp_path: Path, forgets: Forgetful
) -> None:
    async with edge(tmp_path, forgets.url) as here:
        earlier = minted(here).signer.verify(await here.asked(), audience="machine")
        outcome = Outcome(kind="succeeded", callback="answer", by="callback", body="1")

        async def settle() -> str:
            settlement = await resolve(
                here.engine.promises, "ask.1:1", ikey="k", outcome=outcome, opened=earlier.opened_at
            )
            return settlement.verdict

        assert await settle() == "applied"
        await asked_anew(here, forgets)
        assert await settle() == "closed"
        seen_by_workflow = read_settled(await here.engine.promises.get("ask.1:1"), callback="answer")
        assert seen_by_workflow is not None
        assert (seen_by_workflow.outcome.kind, seen_by_workflow.outcome.by) == ("cancelled", "engine")


async def test_the_same_wait_gives_the_same_link_after_a_restart(tmp_path: Path) -> None:
    keys = environment()["COUNTERSIGN_SIGNING_KEYS"]
    url = f"sqlite:///{tmp_path}/engine.db"

    async with edge(tmp_path, url, SIGNING_KEYS=keys) as here:
        token = await here.asked()
        opened = (await here.engine.promises.get("ask.1:1")).created_at

    async with edge(tmp_path, url, SIGNING_KEYS=keys) as here:
        record = await here.engine.promises.get("ask.1:1")
        claims = minted(here).signer.verify(token, audience="machine")
        assert record.created_at == opened == claims.opened_at
        assert claims.is_for(record)
        assert (await here.post(token, 1)).status_code == 200


# -- waits that were opened before links said when ------------------------------


async def test_a_wait_opened_before_the_upgrade_takes_its_old_link_and_a_later_wait_does_not(
    tmp_path: Path, forgets: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edge(tmp_path, forgets.url) as here:
        monkeypatch.setattr(context, "MARK", {})
        old = await here.asked()
        monkeypatch.setattr(context, "MARK", MARK)
        claims = minted(here).signer.verify(old, audience="machine")
        assert (claims.version, claims.opened_at) == (1, None)
        opened = (await here.engine.promises.get("ask.1:1")).created_at
        of_another_format = minted(here).signer.mint(replace(claims, opened_at=opened))
        problem(await here.post(of_another_format, 1), 410, "expired")

        assert (await here.client.get(f"/callbacks/{old}")).json()["state"] == "pending"
        assert (await here.post(old, 1)).json()["duplicate"] is False
        assert (await here.post(old, 1)).json()["duplicate"] is True
        await asked_anew(here, forgets)

        problem(await here.post(old, 1), 410, "expired")
        problem(await here.client.get(f"/callbacks/{old}"), 410, "expired")
        assert await pending(here)


# -- approvals -----------------------------------------------------------------


async def asked_people_anew(here: Desk, forgets: Forgetful, **consultation: Any) -> str:
    await forgets.forget(here.engine, "consult.1")
    here.letters.sent.clear()

    return await here.ask(**consultation)


async def test_an_earlier_approval_link_is_a_410_page_and_decides_nothing(tmp_path: Path, forgets: Forgetful) -> None:
    async with desk(tmp_path, forgets.url) as here:
        earlier = await here.ask(title="Ship the old one?")
        await here.post(earlier, "reject")
        # The same question word by word: its digest is the same.
        later = await asked_people_anew(here, forgets, title="Ship the old one?")

        for answer in (
            await here.client.get(earlier),
            await here.client.get(f"{earlier}?choose=approve"),
            await here.post(earlier, "approve"),
            await here.post(earlier, "reject"),
        ):
            text = seen(answer, 410)
            assert "an earlier question" in text
            assert "Ship the old one?" not in text

        assert (await here.client.head(earlier)).status_code == 410
        assert await pending(here, "consult.1:1")
        assert (await here.post(later, "approve")).status_code == 303
        assert (await here.ended())["result"]["decision"] == "approve"


async def test_a_code_from_an_earlier_mail_opens_nothing_later_and_earlier_guesses_do_not_count(
    tmp_path: Path, forgets: Forgetful
) -> None:
    async with desk(tmp_path, forgets.url) as here:
        earlier = await here.ask(code=True)
        old_code = code_in((await here.letter()).text)

        for guess in ("AAAA-AAAA", "BBBB-BBBB", "CCCC-CCCC", "DDDD-DDDD"):
            assert (await here.post(earlier, code=guess)).status_code == 403

        await here.post(earlier, "approve", code=old_code)
        later = await asked_people_anew(here, forgets, code=True)
        code = code_in((await here.letter()).text)

        assert code != old_code
        assert "Tries left: 4" in seen(await here.post(later, code=old_code), 403)
        assert await pending(here, "consult.1:1")
        assert (await here.post(later, code=code)).status_code == 303


async def test_a_reminder_of_an_earlier_wait_mails_nobody_a_link_to_the_later_one(
    tmp_path: Path, forgets: Forgetful
) -> None:
    async with desk(tmp_path, forgets.url) as here:
        await here.ask(people=[BOB], remind_after=2)
        await here.post(await here.link(BOB))
        await asked_people_anew(here, forgets, people=[ADA], remind_after=2)

        # Her own reminder is sent, although the engine may still hold the one for him.
        reminder = await here.letter(ADA, number=1)
        assert link_in(reminder.text) == await here.link(ADA)
        assert here.letters.to(BOB) == []


async def test_a_reminder_that_the_release_before_has_stored_is_still_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(tmp_path) as here:
        monkeypatch.setattr(context, "MARK", {})
        link = await here.ask()
        monkeypatch.setattr(context, "MARK", MARK)
        await arranged(here, address={"promise_id": "consult.1:1", "callback": "question", "subject": ADA})

        assert link_in((await here.letter(number=1)).text) == link


async def test_a_reminder_that_the_release_before_has_stored_is_not_for_a_later_wait(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        await here.ask(people=[ADA])
        task = await arranged(here, address={"promise_id": "consult.1:1", "callback": "question", "subject": BOB})

        while (await here.engine.promises.get(task)).state == "pending":
            await pause(0.02)

        assert here.letters.to(BOB) == []


async def arranged(here: Desk, *, address: dict[str, Any]) -> str:
    """Store a reminder that is due, in the format of the previous release; return its id."""
    wait = await here.engine.promises.get("consult.1:1")
    fields = {**address, "audience": "approver", "outcomes": ["approve", "reject"]}
    reminder = {"address": fields, "place": 0, "every": 3600.0, "number": 1}
    promise_id = "consult.1~1~remind0.1"
    await here.engine.promises.create(
        promise_id,
        timeout_at=wait.timeout_at,
        param={"func": REMIND, "args": [{"reminder": reminder, "due_at": 0}], "kwargs": {}, "version": 1},
        tags={**own_tags(promise_id), "resonate:target": here.engine.own_address},
    )

    return promise_id


# -- webhooks ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["standard", "github"])
async def test_a_delivery_for_an_earlier_wait_is_over_and_settles_nothing(
    tmp_path: Path, forgets: Forgetful, name: str
) -> None:
    known: dict[str, Sender] = senders()

    async with edge(tmp_path, forgets.url, SOURCES=sources_file(tmp_path, known)) as here:

        async def deliver(token: str, body: str) -> Any:
            answer = await here.client.post(f"/webhooks/{name}/{token}", content=body, headers=known[name].sign(body))
            assert answer.status_code == 200
            return answer.json()["state"]

        earlier = await here.asked()
        assert await deliver(earlier, '{"n": 1}') == "settled"
        later = await asked_anew(here, forgets)

        assert await deliver(earlier, '{"n": 1}') == "over"
        assert await deliver(earlier, '{"n": 2}') == "over"
        assert await pending(here)

        if not forgets.everything:
            # A captured delivery, with the later wait's own token: it is bound to the wait that it settled.
            assert await deliver(later, '{"n": 1}') == "over"
            assert await pending(here)


@pytest.mark.parametrize("name", ["stripe", "github"])
async def test_a_token_of_an_earlier_wait_in_a_signed_body_is_over(
    tmp_path: Path, forgets: Forgetful, name: str
) -> None:
    known = senders()
    sources = sources_file(tmp_path, known, 'token = "token"')

    async with edge(tmp_path, forgets.url, SOURCES=sources) as here:
        earlier = await here.asked()
        body = f'{{"token": "{earlier}"}}'
        headers = known[name].sign(body)
        assert (await here.client.post(f"/webhooks/{name}", content=body, headers=headers)).json()["state"] == "settled"
        await asked_anew(here, forgets)

        assert (await here.client.post(f"/webhooks/{name}", content=body, headers=headers)).json()["state"] == "over"
        assert await pending(here)
