"""Finding the wait of a run that an operator means, who knows only the callback's name.

A run may open several waits under one name, one after the other: rounds of a review, attempts of a job. The open one is
meant; of several that are open, the one that was opened first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.callbacks.outcomes import read_settled
from orchestrator.errors import CountersignError
from orchestrator.runs.call_graph import walk
from orchestrator.stored_names import CALLBACK_TAG

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.types import PromiseRecord

    from orchestrator.callbacks.outcomes import Settled
    from orchestrator.engine.promises import Promises


class UnknownCallback(CountersignError):
    """The run has opened no wait with this name."""

    def __init__(self, callback: str) -> None:
        super().__init__(f"the run has opened no callback {callback}")
        self.callback = callback


class NotUsable(CountersignError):
    """What an operator asked for cannot be done as it was asked. `field` names what is wrong, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, kw_only=True)
class Found:
    """The wait that is meant, as the engine held it; `settled` is None while it is open."""

    record: PromiseRecord
    settled: Settled | None


async def find_wait(
    promises: Promises,
    root_id: str,
    callback: str,
    *,
    step: str | None = None,
    is_repeat: Callable[[Settled], bool] | None = None,
) -> Found:
    """Return the wait with this name below the root: the open one, else the one that was opened last.

    A wait that `is_repeat` recognises comes first, open ones notwithstanding: a request that is sent again, because its
    response was lost, must not answer the next round. With `step`, only the wait with this promise id is meant.

    Takes a read for each step that it passes, and three for a settled one. With `is_repeat` and without `step`, it
    passes all of them.

    Raises:
        UnknownCallback: there is no such wait.
        EngineUnavailable: as for any read.
    """
    found: Found | None = None

    if is_repeat is None or step is not None:
        # What is open is never below a settled step, so most of a long run need not be read.
        found = await _among(promises, root_id, callback, step, None, unsettled=True)

    if found is None:
        found = await _among(promises, root_id, callback, step, is_repeat, unsettled=False)

    if found is None:
        raise UnknownCallback(callback)

    return found


async def _among(  # noqa: PLR0913 - what is looked for, and where
    promises: Promises,
    root_id: str,
    callback: str,
    step: str | None,
    is_repeat: Callable[[Settled], bool] | None,
    *,
    unsettled: bool,
) -> Found | None:
    first_open: Found | None = None
    last: Found | None = None

    async for record in walk(promises, root_id, unsettled=unsettled):
        if record.tags.get(CALLBACK_TAG) != callback or step not in {None, record.id}:
            continue

        settled = read_settled(record, callback=callback)
        last = Found(record=record, settled=settled)

        if settled is None:
            first_open = first_open or last
        elif is_repeat is not None and is_repeat(settled):
            return last

    return first_open or last
