"""The durable call graph below a root, read from the engine's promises.

Child ids are positional, so walking `root:1`, `root:2`, ... until one is missing finds every step on every engine; a
search over promises exists on some of them only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resonate.ids import join_id

from orchestrator.context import CALLBACK_TAG, STEP_TAG
from orchestrator.errors import UnknownPromise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from resonate.types import PromiseRecord

    from orchestrator.engine.promises import Promises

#: A graph is walked no further than this many promises.
MAX_WALK: Final = 2000


async def walk(promises: Promises, root_id: str, *, limit: int = MAX_WALK) -> AsyncIterator[PromiseRecord]:
    """Yield the records below the root, parents before children, in the order the workflow made them.

    What is created behind the walker's back is missed.

    Raises:
        EngineUnavailable: as for any read.
    """
    open_ids = [join_id(root_id, "1")]
    seen = 0

    while open_ids and seen < limit:
        promise_id = open_ids.pop()

        try:
            record = await promises.get(promise_id)
        except UnknownPromise:
            continue

        seen += 1
        yield record
        open_ids += [_next_sibling(promise_id), join_id(promise_id, "1")]


def name_of(record: PromiseRecord) -> str:
    """Return what a promise in the graph is for: a callback's or step's name, the function called, or `sleep`."""
    tags = record.tags

    if CALLBACK_TAG in tags:
        return tags[CALLBACK_TAG]

    if STEP_TAG in tags:
        return tags[STEP_TAG]

    if tags.get("resonate:timer") == "true":
        return "sleep"

    param = record.param.data

    return str(param["func"]) if isinstance(param, dict) and "func" in param else "step"


def _next_sibling(promise_id: str) -> str:
    cut = max(promise_id.rfind(":"), promise_id.rfind("."))

    return f"{promise_id[: cut + 1]}{int(promise_id[cut + 1 :]) + 1}"
