"""Starting a run again: the same input under a new id, recorded as started from which run, by whom and why."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from orchestrator.errors import CountersignError
from orchestrator.runs.definition import field_of
from orchestrator.runs.root_ids import name_of_root
from orchestrator.runs.roots import start_root, view_root
from orchestrator.runs.start import Again
from orchestrator.text.strict_json import loads_strict

if TYPE_CHECKING:
    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.roots import RootView

_LONGEST_ID: Final = 128
_SUFFIX: Final = re.compile(r"\.again-[0-9a-f]{12}\Z", re.ASCII)


class CannotStartAgain(CountersignError):
    """The input of the run cannot be used again. The message says why, and may be shown."""


async def start_again(  # noqa: PLR0913 - one action, all of it named
    engine: Engine, workflow: Workflow[Any], root_id: str, *, by: str, reason: str = "", key: str | None = None
) -> RootView:
    """Start this workflow once more with the input of the run `root_id`, under a new id, and return the new run.

    `by` is the name of the operator's API key. Does not check whether they may do this. With the same `key` (a form's
    own, say) from the same operator, the same new run is returned, and `created` says whether this call started it.
    The new run belongs to no parent, even if the old one was a sub-workflow.

    Raises:
        UnknownPromise: there is no such run.
        CannotStartAgain: its input does not fit the workflow as it is now, or the store was tampered with.
        EngineUnavailable: whether it started is unknown; repeating the call is safe if it has a `key`.
    """
    record = await engine.promises.get(root_id)
    old, of = view_root(record), name_of_root(root_id)

    if old.request is None:
        raise CannotStartAgain("The record of the run does not hold what was written there.")

    try:
        workflow.request.model_validate(loads_strict(old.request.encode()), extra="forbid")
    except ValidationError as error:
        fields = dict.fromkeys(field_of(fault["loc"]) for fault in error.errors(include_input=False))
        reasons = f"The input of the run does not fit the workflow as it is now: {', '.join(fields)}."
        raise CannotStartAgain(reasons) from None

    named = json.dumps([root_id, old.started_at, by, secrets.token_hex(16) if key is None else key])
    suffix = f".again-{hashlib.sha256(named.encode()).hexdigest()[:12]}"
    stem = _SUFFIX.sub("", of.id)[: _LONGEST_ID - len(suffix)]

    return await start_root(
        engine,
        name=workflow.name,
        workflow_id=f"{stem}{suffix}",
        text=old.request,
        group=workflow.group,
        timeout=workflow.timeout,
        version=workflow.version,
        again=Again(of=root_id, by=by, reason=reason),
    )
