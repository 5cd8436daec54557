"""A wait as an operator sees it before doing anything about it: its choices, and how often people were reminded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.approvals.reminded import count_reminders
from orchestrator.callbacks.answerers import Answerers
from orchestrator.callbacks.choices import choices_of
from orchestrator.callbacks.hand_reminders import read_reminders
from orchestrator.errors import UnknownPromise
from orchestrator.runs.step_view import StepView
from orchestrator.stored_names import CALLBACK_TAG

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises


@dataclass(frozen=True, kw_only=True)
class WaitView:
    """A wait: its step, the outcomes that it allows, whom its links are for, and how often people were reminded."""

    step: StepView
    choices: tuple[str, ...]
    subject: str
    reminded: int

    @property
    def is_open(self) -> bool:
        """Whether it can still be answered."""
        return self.step.state == "running"

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody whom it asks, or for whom its link is."""
        if self.step.asked is not None:
            return self.step.asked.inquiry.people

        return (self.subject,) if self.subject else ()


async def view_wait(promises: Promises, promise_id: str) -> WaitView:
    """Return the wait with this promise id.

    Raises:
        UnknownPromise: there is no such promise, or it is no wait.
        EngineUnavailable: as for any read.
    """
    record = await promises.get(promise_id)

    if CALLBACK_TAG not in record.tags:
        raise UnknownPromise(promise_id)

    step = StepView.read(record)

    return WaitView(
        step=step,
        choices=choices_of(record),
        subject=Answerers.read(record).subject,
        reminded=0 if step.asked is None else await _reminded(promises, record),
    )


async def _reminded(promises: Promises, record: PromiseRecord) -> int:
    """Return how often people were reminded: as their workflow had planned, and by hand."""
    by_hand = await read_reminders(promises, record)

    return await count_reminders(promises, record) + (by_hand[-1].number if by_hand else 0)
