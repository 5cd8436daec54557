"""Asking people: everybody gets a link of their own by mail, and the workflow goes on with what they decided.

If one decision is enough, all links are for the same wait: of two people who decide at the same instant, one wins and
the other sees what was decided. If everybody must agree, each person has a wait of their own.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.approvals.decision import Decision
from orchestrator.approvals.reminders import Reminder, mail_question
from orchestrator.callbacks.callback import open_inquiry, withdraw_callback
from orchestrator.callbacks.outcomes import CLOSED
from orchestrator.callbacks.question import MAX_PEOPLE, Question
from orchestrator.durable.context import Context, context_of
from orchestrator.durable.first_over import first_over
from orchestrator.durable.persisting import persist
from orchestrator.durable.steps import Step, kind_of
from orchestrator.errors import Misused, WorkflowFailed
from orchestrator.text.mailbox import mailbox

if TYPE_CHECKING:
    from resonate.context import Context as SDKContext

    from orchestrator.callbacks.address import Address
    from orchestrator.callbacks.callback import Callback
    from orchestrator.callbacks.outcomes import Outcome
    from orchestrator.callbacks.question import Need

_NOT_NEEDED: Final = "The question is settled without this answer."


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one person decided, and what is kept about it.

    `digest` is the SHA-256 of the question that the page showed, `client` the network address the answer came from,
    `at` when, in RFC 3339.
    """

    person: str
    decision: str
    comment: str
    digest: str
    client: str | None
    at: str


@dataclass(frozen=True, kw_only=True)
class AnswerByHand(Answer):
    """What an operator decided by hand instead: `person` is `operator:KEY`, with the name of their API key."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How a question ended: the `decision` that counts, `expired` or `cancelled`, and everybody's answer."""

    decision: str
    answers: tuple[Answer, ...]


def ask_people(  # noqa: PLR0913 - each with a default that is right for most questions
    ctx: Context,
    name: str,
    question: Question,
    people: Sequence[str],
    *,
    need: Need = "any",
    deadline: timedelta = timedelta(days=7),
    remind_after: timedelta | None = None,
) -> Coroutine[Any, Any, Answers]:
    """Ask these people by mail and return what they decided, once it is decided, expired or cancelled.

    `name` distinguishes this question from the workflow's others. With `need` "any", the first answer counts. With
    "all", the question is open until everybody has chosen its first decision, and ends as soon as somebody chooses
    anything else. Links that are no longer needed say so. Reminders carry the same link, every `remind_after`, until
    the question is over.

    Raises:
        Misused (a ValueError): there is nobody to ask, there are too many people, somebody is named twice, an address
            is invalid, an argument is of another type, or `open_callback` would refuse the name or the deadline.
            Nothing is recorded or mailed.
        WorkflowFailed: a mail was refused permanently; everybody's link is withdrawn. Outages are waited out.
    """
    flow = context_of(ctx, "ask_people")
    _check(question, need, remind_after)
    asking = _asked(flow, name, question, _addresses(people), need=need, deadline=deadline, remind_after=remind_after)

    return flow.calls.must_await(asking, "ask_people(ctx, ...)")


async def _asked(  # noqa: PLR0913 - as above
    ctx: Context,
    name: str,
    question: Question,
    people: tuple[str, ...],
    *,
    need: Need,
    deadline: timedelta,
    remind_after: timedelta | None,
) -> Answers:
    if need == "any" or len(people) == 1:
        opened = [await open_inquiry(ctx, name, question, people, need="any", deadline=deadline)]
    else:
        opened = [
            await open_inquiry(
                ctx, f"{name}-{place}", question, (person,), need="all", deadline=deadline, place=(place, len(people))
            )
            for place, person in enumerate(people, start=1)
        ]

    for place, person in enumerate(people):
        address = opened[place % len(opened)].address.for_person(person)
        await _mailed(ctx, address, place, remind_after)

    decision = await _unanimous(ctx, opened, question) if len(opened) > 1 else (await opened[0]).kind
    outcomes = [await callback for callback in opened]

    return Answers(decision=decision, answers=tuple(_answer(one) for one in outcomes if one.kind not in CLOSED))


async def _mailed(ctx: Context, address: Address, place: int, remind_after: timedelta | None) -> None:
    reminder = None

    if remind_after is not None:
        reminder = Reminder(address=address, place=place, every=remind_after.total_seconds())

    refused = await persist(ctx, mail_question, address, reminder)

    if refused is not None:
        raise WorkflowFailed(f"the question could not be mailed to {address.subject}: {refused}")


async def _unanimous(ctx: Context, opened: list[Callback], question: Question) -> str:
    """Return the decision once everybody has agreed or somebody has not; the waits left over are withdrawn."""
    agreed = question.decisions[0]
    waiting = list(range(len(opened)))
    against: list[str] = []

    while waiting and not against:
        await first_over([opened[place].future for place in waiting])
        # Which ones are over by now may differ in a replay, so a step records in which order to read them. What they
        # say is read from the waits themselves, so the record of the step decides nothing.
        over: list[list[Any]] = await ctx.run(_TALLY, [opened[place].address for place in waiting])
        indexes = dict.fromkeys(index for index, *_ in over)
        looked_at = [waiting[index] for index in indexes if 0 <= index < len(waiting)]
        kinds = [(await opened[place]).kind for place in looked_at]
        against = [kind for kind in kinds if kind != agreed]
        waiting = [place for place in waiting if place not in looked_at]

    for place in waiting:
        await ctx.run(withdraw_callback, opened[place].address, _NOT_NEEDED)

    # A person's decision has priority over a wait that was closed without one.
    return min(against, key=lambda kind: kind in CLOSED, default=agreed)


async def tally(ctx: SDKContext, addresses: list[Address]) -> list[list[Any]]:
    """Return, as a step, which of these waits are over: their index and when they ended (ms), in that order."""
    settled = [await address.settled(ctx) for address in addresses]
    over = [[index, one.settled_at] for index, one in enumerate(settled) if one is not None]

    return sorted(over, key=lambda each: each[1])


_TALLY: Final = Step(body=tally, name="tally", any_record=True)


def _answer(outcome: Outcome) -> Answer:
    kept = Decision.read(outcome)

    if kept is None:
        raise WorkflowFailed(f"the answer to {outcome.callback!r} is not one that was given on our page")

    answer = Answer(
        person=outcome.answered_by,
        decision=outcome.kind,
        comment=kept.comment,
        digest=kept.digest,
        client=kept.client,
        at=kept.at,
    )

    return answer if outcome.reason is None else AnswerByHand(**asdict(answer), reason=outcome.reason)


def _addresses(people: object) -> tuple[str, ...]:
    """Return everybody's address as `mailbox` spells it, so that two spellings of one address are recognised."""
    if isinstance(people, str) or not isinstance(people, Sequence) or not all(isinstance(one, str) for one in people):
        raise Misused('the people of a question are a list of addresses, such as ["ada@example.org"]')

    if not 1 <= len(people) <= MAX_PEOPLE:
        raise Misused(f"a question is put to 1 to {MAX_PEOPLE} people, not to {len(people)}")

    addresses: list[str] = []

    for place, person in enumerate(people, start=1):
        try:
            addresses.append(mailbox(person))
        except ValueError as error:
            raise Misused(f"person {place} of the question has no address that mail can be sent to: {error}") from None

    if len({address.casefold() for address in addresses}) < len(addresses):
        raise Misused("a question is put to each of its people once, and one address is there twice")

    return tuple(addresses)


def _check(question: object, need: object, remind_after: object) -> None:
    if not isinstance(question, Question):
        raise Misused(f"ask_people takes a Question after the name, not {kind_of(question)}")

    if need not in {"any", "all"}:
        raise Misused('`need` of a question is "any" or "all"')

    if remind_after is None:
        return

    if not isinstance(remind_after, timedelta) or remind_after <= timedelta(0):
        raise Misused("`remind_after` of a question is a timedelta of more than 0, such as timedelta(days=1)")
