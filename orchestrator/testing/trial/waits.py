"""A wait in a trial, answered as it is in production: with the token that was handed out, verified and delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.approvals.decision import Decision
from orchestrator.callbacks.address import Links
from orchestrator.callbacks.claims import Claims, TokenExpired
from orchestrator.callbacks.deliver import WaitReplaced, deliver, wait_of
from orchestrator.callbacks.outcomes import CLOSED, Outcome, body_of
from orchestrator.callbacks.question import Asked
from orchestrator.callbacks.terms import Terms
from orchestrator.durable.opened_at import opened_at
from orchestrator.stored_names import CALLBACK_TAG
from orchestrator.testing.trial.world import TrialError
from orchestrator.text.json_writing import dumps_strict
from orchestrator.text.times import rfc3339, utc

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from resonate.types import PromiseRecord

    from orchestrator.callbacks.claims import Audience
    from orchestrator.callbacks.outcomes import By
    from orchestrator.callbacks.question import Question
    from orchestrator.callbacks.settlement import Settlement
    from orchestrator.engine import Engine
    from orchestrator.testing.trial.world import World


class Wait:
    """An open callback, or a question to people, of a run.

    If all of several people must agree, it stands for the wait of each of them.
    """

    def __init__(self, world: World, callback: str, records: tuple[PromiseRecord, ...]) -> None:
        self._world = world
        self._records = records
        #: The name that the workflow gave to it.
        self.callback = callback

    @property
    def until(self) -> datetime:
        """When it ends as `expired`."""
        return utc(min(record.timeout_at for record in self._records))

    @property
    def question(self) -> Question | None:
        """What people are asked, None for a callback."""
        asked = Asked.read(self._records[0])

        return None if asked is None else asked.question

    @property
    def people(self) -> tuple[str, ...]:
        """Who is asked, by address; nobody for a callback."""
        return tuple(person for record in self._records if (asked := Asked.read(record)) for person in _people(asked))

    @property
    def link(self) -> str:
        """The link of this wait, as a step hands it out; of a question, the link of the first person."""
        claims = self._claims()[0][1]

        return Links(self._world.surroundings.signer, self._world.surroundings.settings.public_url).url(claims)

    async def succeed(self, value: object = None) -> None:
        """Report success with this JSON value, as the holder of the link does, and let the workflow go on.

        Raises:
            NotJson: JSON cannot hold the value.
            TrialError: the wait is over, or its link allows no such report.
        """
        await self._report("succeeded", dumps_strict(value, "value"))

    async def fail(self, message: str, details: object = None) -> None:
        """Report a failure, as the holder of the link does, and let the workflow go on.

        Raises:
            NotJson, TrialError: as for `succeed`.
        """
        await self._report("failed", body_of(message, details))

    async def decide(self, decision: str, *, by: str | None = None, comment: str = "", code: str | None = None) -> None:
        """Decide as a person with a link does, and let the workflow go on.

        `by` is the address of the person; it may be left out if only one is asked. The code that a mail carries is
        entered for them, unless `code` is given.

        Raises:
            TrialError: the wait is over or is no question, the decision is not one of the choices or needs a comment,
                somebody else was asked, or the code is wrong.
        """
        record, claims = self._of_person(by)
        asked = Asked.read(record)

        if asked is None or not asked.matches(claims):
            raise TrialError(f"{self.callback!r} asks nobody, so nobody can decide it: use succeed or fail")

        kept = Decision(comment=comment, digest=asked.digest, client=None, at=rfc3339(self._world.clock()))

        async def act(engine: Engine) -> Settlement:
            codes = ApprovalCodes(self._world.surroundings.settings.signing_keys)
            entered = codes.code(record, claims.subject) if code is None else code

            async def check() -> None:
                if asked.question.needs_reason(decision, comment):
                    raise TrialError(f"{decision!r} needs a reason: give it as comment=")

                if asked.question.code:
                    await _check_code(engine, codes, record, claims, entered)

            return await self._deliver(engine, claims, decision, kept.stored(), "approver", f":{decision}", check=check)

        await self._settle(act, claims, decision)

    async def _report(self, kind: str, body: str) -> None:
        claims = self._claims()[0][1]

        if not Terms.read(self._records[0]).link:
            raise TrialError(f"{self.callback!r} has no link: only the end of its run answers it (trial.jobs)")

        if claims.audience != "machine":
            raise TrialError(f"{self.callback!r} is a question to {', '.join(self.people)}: answer it with decide")

        async def act(engine: Engine) -> Settlement:
            return await self._deliver(engine, claims, kind, body, "callback", "")

        await self._settle(act, claims, kind)

    async def _deliver(  # noqa: PLR0913, PLR0917 - one delivery
        self, engine: Engine, claims: Claims, kind: str, body: str, by: By, suffix: str, *, check: Any = None
    ) -> Settlement:
        signer = self._world.surroundings.signer
        presented = signer.verify_even_expired(signer.mint(claims), audience=claims.audience)
        outcome = Outcome(kind=kind, callback=claims.callback, by=by, body=body, subject=claims.subject)
        wait = await wait_of(engine.promises, presented)

        return await deliver(engine.promises, wait, outcome, f"{claims.ikey}{suffix}", check=check)

    async def _settle(
        self, act: Callable[[Engine], Coroutine[Any, Any, Settlement]], claims: Claims, kind: str
    ) -> None:
        if kind not in claims.outcomes:
            raise TrialError(f"{self.callback!r} can end as {', '.join(claims.outcomes)}, not as {kind!r}")

        try:
            settlement = await self._world.do(act)
        except (TokenExpired, WaitReplaced):
            raise TrialError(f"{self.callback!r} is over: its link has expired") from None

        recorded = settlement.settled.outcome
        await self._world.settle()

        if settlement.verdict == "closed" or recorded.kind in CLOSED:
            raise TrialError(f"{self.callback!r} is over: it ended {recorded.kind}")

        if settlement.verdict not in {"applied", "duplicate"}:
            raise TrialError(f"{self.callback!r} was answered before: {recorded.kind} by {recorded.by}")

    def _claims(self) -> list[tuple[PromiseRecord, Claims]]:
        """Return the claims of every link of this wait: those that were handed out, and those that would be."""
        found = []

        for record in self._records:
            minted = self._world.surroundings.signer.minted.get((record.id, opened_at(record)), {})
            asked = Asked.read(record)
            subjects = list(minted) or [""] if asked is None else _people(asked)
            found += [(record, minted.get(subject) or _would_be(record, subject, asked)) for subject in subjects]

        return found

    def _of_person(self, person: str | None) -> tuple[PromiseRecord, Claims]:
        known = self._claims()
        fitting = [
            (record, claims)
            for record, claims in known
            if person is None or person.casefold() == claims.subject.casefold()
        ]

        if len(fitting) == 1:
            return fitting[0]

        asked = ", ".join(claims.subject for _, claims in known) or "nobody"

        if person is None:
            raise TrialError(f"{self.callback!r} asks {asked}: say who decides, with by=")

        raise TrialError(f"{self.callback!r} asks {asked}, not {person!r}")


def _people(asked: Asked) -> list[str]:
    return list(asked.inquiry.people)


def _would_be(record: PromiseRecord, subject: str, asked: Asked | None) -> Claims:
    audience: Audience = "machine" if asked is None else "approver"

    return Claims(
        promise_id=record.id,
        callback=record.tags[CALLBACK_TAG],
        audience=audience,
        subject=subject,
        outcomes=("succeeded", "failed") if asked is None else tuple(asked.question.decisions),
        expires_at=-(-record.timeout_at // 1000),
        opened_at=opened_at(record),
        question=None if asked is None else record.id,
        digest=None if asked is None else asked.digest,
    )


async def _check_code(
    engine: Engine, codes: ApprovalCodes, record: PromiseRecord, claims: Claims, entered: str
) -> None:
    """Return if the code is right. As on the page, a guess is counted before it is compared."""
    left = await codes.count(engine.promises, record, claims.subject, entered)

    if left is None:
        raise TrialError("there were too many wrong codes: this link decides nothing any more")

    if not codes.is_right(entered, record, claims.subject):
        raise TrialError(f"that is not the code from the mail; tries left: {left}")
