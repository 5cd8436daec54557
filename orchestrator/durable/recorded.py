"""What a promise of a workflow is recorded as, and whether the code now asks for the same at its place.

The places are numbered in the order in which a workflow's code asks for them. Code that was changed while a workflow is
open may ask for something else at a place; then it must not get the answer that is recorded there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.stored_names import CALLBACK_TAG, PLACE_TAG, STEP_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.types import PromiseCreateReq, PromiseRecord


def difference(asked: PromiseCreateReq, record: PromiseRecord) -> str | None:
    """Return how a record differs from what the code asks for at its place, as a sentence; None if it does not.

    Names and kinds are compared, not arguments. A record without a name, which an earlier release wrote, fits.
    """
    wanted = _shown(asked.tags, asked.param.data)
    found = _shown(record.tags, record.param.data)

    if wanted is None or found is None or wanted == found:
        return None

    number = record.id.rpartition(":")[2]

    return f"step {number} is recorded as {found}, the code now calls {wanted}"


def _shown(tags: Mapping[str, str], param: Any) -> str | None:
    if CALLBACK_TAG in tags:
        return f'the callback "{tags[CALLBACK_TAG]}"'

    if STEP_TAG in tags:
        return f'"{tags[STEP_TAG]}"'

    if PLACE_TAG in tags:
        return "a part that begins with nothing recorded"

    if tags.get("resonate:scope") == "local":
        return None

    if tags.get("resonate:timer") == "true":
        return "a sleep"

    function = called(param)

    return "a promise" if function is None else f'"{function}" in another group or workflow'


def called(param: Any) -> str | None:
    """Return the name of the function that a promise with this param calls, None if it calls none."""
    name = param.get("func") if isinstance(param, dict) else getattr(param, "func", None)

    return name if isinstance(name, str) else None
