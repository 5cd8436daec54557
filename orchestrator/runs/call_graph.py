"""The durable call graph below a root, read from the engine's promises.

Child ids are positional, so walking `root:1`, `root:2`, ... until none is left finds every step on every engine; only
some engines can search for promises. A number may be missing, because the SDK also counts what a workflow detaches from
itself, and gives it an id of another form. So a walk continues after a few missing numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from resonate.ids import join_id

from orchestrator.durable.parts import BELOW, marker_of
from orchestrator.durable.recorded import called
from orchestrator.errors import UnknownPromise
from orchestrator.stored_names import CALLBACK_TAG, PLACE_TAG, STEP_TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: How many steps one request, or one step of a cancel, reads.
PAGE: Final = 2000

_PATH: Final = re.compile(rf"[1-9][0-9]{{0,17}}(?:\.(?:{BELOW}\.)?[1-9][0-9]{{0,17}}){{0,999}}", re.ASCII)

#: How many numbers in a row may be missing among siblings.
GAP: Final = 16


async def walk(
    promises: Promises, root_id: str, *, after: str | None = None, unsettled: bool = False
) -> AsyncIterator[PromiseRecord]:
    """Yield the records below the root, parents before children, in the order the workflow made them.

    With `after`, only what comes after that step in this order. With `unsettled`, nothing that a settled step itself
    has begun, because nothing waits there any more.

    The walk misses steps that are created where it has been already, steps after more than `GAP` missing numbers, and
    the steps below a settled step whose first and second child are missing. It takes one read, one more per record, and
    two more for each settled step unless `unsettled`; one more per record where parts of the code ran at once and began
    several things each. Stop iterating to limit the reads.

    Raises:
        ValueError: `after` is not a step of this root.
        EngineUnavailable: as for any read.
    """
    # Each id with the number of missing siblings right before it.
    open_ids = [(join_id(root_id, "1"), 0)] if after is None else _following(root_id, after)
    has_parts = await _exists(promises, marker_of(root_id))

    if has_parts and after is not None:
        open_ids.append(_of_part(after))

    while open_ids:
        promise_id, missing = open_ids.pop()

        try:
            record = await promises.get(promise_id)
        except UnknownPromise:
            if missing < GAP:
                open_ids.append((_next_sibling(promise_id), missing + 1))

            continue

        open_ids.append((_next_sibling(promise_id), 0))

        if PLACE_TAG not in record.tags:
            yield record

        if record.state == "pending" or not unsettled:
            open_ids += _children(record)

        if has_parts:
            open_ids.append(_of_part(promise_id))


def name_of(record: PromiseRecord) -> str:
    """Return what a promise in the graph is for: a callback's or step's name, the function called, or `sleep`."""
    tags = record.tags

    if CALLBACK_TAG in tags:
        return tags[CALLBACK_TAG]

    if STEP_TAG in tags:
        return tags[STEP_TAG]

    if tags.get("resonate:timer") == "true":
        return "sleep"

    return called(record.param.data) or "step"


async def _exists(promises: Promises, promise_id: str) -> bool:
    try:
        await promises.get(promise_id)
    except UnknownPromise:
        return False

    return True


def _of_part(promise_id: str) -> tuple[str, int]:
    """Return where that begins which a part of the code has begun after this. None of its numbers is missing."""
    return join_id(promise_id, f"{BELOW}.1"), GAP


def _children(record: PromiseRecord) -> list[tuple[str, int]]:
    """Return where the children of a record begin, if it can have any."""
    if not {CALLBACK_TAG, PLACE_TAG}.isdisjoint(record.tags) or record.tags.get("resonate:timer") == "true":
        return []

    # Most settled steps never had any, so only the first two are looked for.
    return [(join_id(record.id, "1"), 0 if record.state == "pending" else GAP - 1)]


def _following(root_id: str, step_id: str) -> list[tuple[str, int]]:
    """Return where a walk goes on after this step: the next siblings of its ancestors and itself, then its children."""
    root, _, path = step_id.partition(":")

    if root != root_id or _PATH.fullmatch(path) is None:
        raise ValueError("there is no such step")

    numbers = path.split(".")
    ancestors = [join_id(root_id, numbers[0])]

    for number in numbers[1:]:
        ancestors.append(join_id(ancestors[-1], number))

    return [*((_next_sibling(one), 0) for one in ancestors), (join_id(step_id, "1"), GAP - 1)]


def _next_sibling(promise_id: str) -> str:
    cut = max(promise_id.rfind(":"), promise_id.rfind("."))

    return f"{promise_id[: cut + 1]}{int(promise_id[cut + 1 :]) + 1}"
