"""The others who are asked the same: if everybody must agree, each person has a wait of their own.

The waits are opened one after the other, so their ids follow each other. In a part of the workflow's code that begins
with them, those of the others are numbered below the first (see `orchestrator.durable.parts`). Each record is checked,
and if one of them is something else, nothing is said about any.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from resonate.ids import join_id

from orchestrator.callbacks.outcomes import CLOSED, read_settled
from orchestrator.callbacks.question import Inquiry
from orchestrator.durable.parts import BELOW
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resonate.types import PromiseRecord

    from orchestrator.callbacks.outcomes import Settled
    from orchestrator.callbacks.question import Asked
    from orchestrator.engine.promises import Promises

_NUMBERED: Final = re.compile(r"(.*[:.])(\d+)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How many people are asked and how many have decided; `against` is the decision that did not agree, if any."""

    asked: int
    answered: int
    against: Settled | None


async def standing(promises: Promises, asked: Asked) -> Standing | None:
    """Return how far a question to everybody is; None if it is no such question, or the other waits are not found.

    Raises:
        EngineUnavailable: no reply in time.
    """
    for ids in _ids(asked.inquiry):
        records = await asyncio.gather(*(_record(promises, one) for one in ids))
        found = [record for place, record in enumerate(records, start=1) if record and _is_other(record, place, asked)]

        if len(found) == len(ids):
            return _standing(found, asked)

    return None


def _standing(found: Sequence[PromiseRecord], asked: Asked) -> Standing:
    settled = [one for record in found if (one := read_settled(record, callback="")) is not None]
    decided = [one for one in settled if one.outcome.kind not in CLOSED]
    against = [one for one in decided if one.outcome.kind != asked.question.decisions[0]]

    return Standing(
        asked=len(found), answered=len(decided), against=min(against, key=lambda one: one.settled_at, default=None)
    )


def _ids(inquiry: Inquiry) -> Iterator[Sequence[str]]:
    """Yield the ids that the waits may have."""
    numbered = _NUMBERED.fullmatch(inquiry.promise_id)

    if inquiry.place is None or numbered is None:
        return

    place, of = inquiry.place
    first = int(numbered[2]) - place + 1

    if first >= 1:
        yield [f"{numbered[1]}{first + number}" for number in range(of)]

    anchor = inquiry.promise_id if place == 1 else inquiry.promise_id.removesuffix(f".{BELOW}.{place - 1}")

    if place == 1 or anchor != inquiry.promise_id:
        yield [anchor, *(join_id(anchor, f"{BELOW}.{number}") for number in range(1, of))]


def _is_other(record: PromiseRecord, place: int, asked: Asked) -> bool:
    other, own = Inquiry.read(record), asked.inquiry

    return (
        other is not None
        and own.place is not None
        and other.place == (place, own.place[1])
        and other.question == own.question
    )


async def _record(promises: Promises, promise_id: str) -> PromiseRecord | None:
    try:
        return await promises.get(promise_id)
    except UnknownPromise:
        return None
