"""Root promises: how a workflow is started once per id, and what its root says about it from then on.

A root is a durable promise with a task for the workflow's worker group. Creating one that exists changes nothing and
returns the existing record. Its param holds the input, and its value how the workflow ended.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeGuard

import msgspec

from orchestrator import stored_names
from orchestrator.durable.opened_at import MARK
from orchestrator.durable.scheduling import create_task
from orchestrator.errors import CANCELLED, EngineUnavailable, NotJson
from orchestrator.failures import error_of, is_tampered
from orchestrator.runs.root_ids import RootName, name_of_root, root_id_of
from orchestrator.runs.start import Again, Start
from orchestrator.stored_names import DEPTH_TAG, NONCE_TAG, PARENT_TAG
from orchestrator.text.crashes import describe_end
from orchestrator.text.json_writing import dumps_strict, escaped, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from resonate.types import PromiseRecord

    from orchestrator.engine import Engine
    from orchestrator.errors import WorkflowEnded

#: How a wait can end without the result that was asked for. A workflow's error may name it as its `outcome`.
ENDED_KINDS: Final = ("failed", "died", "expired", "cancelled")

type State = Literal["running", "succeeded", "failed", "expired", "cancelled"]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow ended. `result` is JSON text, if its code returned; `error` a JSON object, unless it succeeded.

    `shown` is what a log line may say of the error; it is not stored. `unexpected` says that it was no error that a
    workflow is meant to end with, and `abandons` that the waits which its code has left open do not keep it.
    """

    state: State
    result: str | None = None
    error: Mapping[str, Any] | None = None
    shown: str | None = None
    unexpected: bool = False
    abandons: bool = False

    @classmethod
    def succeeded(cls, result: object) -> Self:
        """Return the ending of a workflow that returned this.

        Raises:
            NotJson: the result cannot be written as JSON; names the place in it.
        """
        return cls(state="succeeded", result=dumps_strict(result, "result"))

    @classmethod
    def failed(cls, message: str, *, shown: str | None = None, unexpected: bool = False) -> Self:
        """Return the ending of a workflow that failed with this message. A log shows `shown`, if given, instead."""
        error = {"message": escaped(message)}

        return cls(state="failed", error=error, shown=shown or message, unexpected=unexpected)

    @classmethod
    def raised(cls, end: WorkflowEnded) -> Self:
        """Return the ending of a workflow that raised this.

        What cannot be written as JSON is left out, and the message says what and why.
        """
        error: dict[str, Any] = {"message": "the workflow gave no reason that can be written"}
        left_out = []

        for name, value in end.error.items():
            try:
                error[escaped(name)] = json.loads(dumps_strict(value, f"error.{escaped(name)}"))
            except NotJson as fault:
                if name == "message" and isinstance(value, str):
                    error[name] = escaped(value)
                else:
                    left_out.append(str(fault))

        if not isinstance(error["message"], str):
            error["message"] = json.dumps(error["message"])

        if left_out:
            error["message"] = f"{error['message']} (left out: {'; '.join(left_out)})"

        return cls(state=end.state, error=error, shown=_shown(end))

    def of_a_cancelled(self) -> Self:
        """Return the ending of a workflow that was cancelled, and whose code then ended like this.

        What it returned is kept, and so is the error that it raised.
        """
        if self.error is not None:
            return msgspec.structs.replace(self, state="cancelled")

        return msgspec.structs.replace(self, state="cancelled", error={"message": CANCELLED}, shown=CANCELLED)

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the root's value."""
        error = None if self.error is None else json.dumps(self.error, allow_nan=False)

        return {"countersign": stored_names.FORMAT, "state": self.state, "result": self.result, "error": error}


class RootView(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as its root promise shows it. `created` says whether this very call started it.

    `request` is the JSON text of its input, or None if the store was tampered with. `parent` is the step of another
    workflow that started it as a sub-workflow. `again` is set if it was started again from an earlier run.
    """

    root_id: str
    state: State
    result: str | None
    error: str | None
    request: str | None
    created: bool = False
    started_at: int
    ended_at: int | None
    parent: str | None = None
    again: Again | None = None

    @property
    def parent_name(self) -> RootName | None:
        """Which workflow started this one as a sub-workflow."""
        return None if self.parent is None else name_of_root(self.parent)


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The step that starts a sub-workflow, its workflow's own timeout (ms since the epoch), and how deep it will be."""

    step_id: str
    timeout_at: int
    depth: int = 1


async def start_root(  # noqa: PLR0913 - one call, all of it named
    engine: Engine,
    *,
    name: str,
    workflow_id: str,
    text: str,
    group: str,
    timeout: timedelta,  # noqa: ASYNC109 - of the workflow, not of this call
    version: int = 1,
    parent: Parent | None = None,
    traceparent: str | None = None,
    again: Again | None = None,
    clock: Callable[[], float] | None = None,
    new_nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> RootView:
    """Start the workflow unless its id is taken, and return it; `created` says whether this call started it.

    Does not compare the inputs: the returned view has the one that the workflow was started with.

    Raises:
        EngineUnavailable: whether it started is unknown; repeating the call is safe.
    """
    root_id = root_id_of(name, workflow_id)
    nonce = new_nonce()
    timeout_at = int(((clock or engine.clock)() + timeout.total_seconds()) * 1000)
    span = engine.tracing.start(
        f"start {name}", {"countersign.workflow": name, "countersign.id": workflow_id}, parent=traceparent
    )
    record = await create_task(
        engine,
        root_id,
        function=name,
        argument=Start(root_id=root_id, text=text, trace=span.traceparent, again=again).stored(),
        target=engine.address_of(group),
        timeout_at=timeout_at if parent is None else min(timeout_at, parent.timeout_at),
        tags={NONCE_TAG: nonce, **MARK} | _tags_below(parent),
        version=version,
    )

    created = record.tags.get(NONCE_TAG) == nonce

    if created:
        engine.counts.add("workflows_started", name)
        span.end()

    return view_root(record, created=created)


def _tags_below(parent: Parent | None) -> dict[str, str]:
    return {} if parent is None else {PARENT_TAG: parent.step_id, DEPTH_TAG: str(parent.depth)}


def view_root(record: PromiseRecord, *, created: bool = False) -> RootView:
    """Return the workflow as this root record shows it.

    Raises:
        EngineUnavailable: the record is not that of a workflow that Countersign started.
    """
    state: State
    result = error = None
    value = record.value.data

    match record.state:
        case _ if is_tampered(record):
            state, error = "failed", json.dumps({"message": str(error_of(value))})
        case "pending":
            state = "running"
        case "resolved" if _is_ending(value):
            state, result, error = value["state"], readable(value["result"]), readable(value["error"])
        case "rejected_timedout":
            state, error = "expired", json.dumps({"message": "the workflow reached its own timeout"})
        case "rejected_canceled":
            state, error = "cancelled", json.dumps({"message": "cancelled in the engine"})
        case _:
            # What the record holds is not shown, because a rejected promise's value may be anything.
            state, error = "failed", json.dumps({"message": "the workflow's code could not be run"})

    return RootView(
        root_id=record.id,
        state=state,
        result=result,
        error=error,
        request=_request_of(record),
        created=created,
        started_at=record.created_at,
        ended_at=record.settled_at,
        parent=record.tags.get(PARENT_TAG),
        again=_again_of(record),
    )


def _shown(end: WorkflowEnded) -> str:
    """Return what a log line may say of an error that a workflow ended with."""
    shown = describe_end(end)
    outcome = end.error.get("outcome")

    return f"{shown} (outcome {outcome})" if outcome in ENDED_KINDS else shown


def _request_of(record: PromiseRecord) -> str | None:
    if is_tampered(record):
        return None

    match record.param.data:
        case {"args": [{"countersign": stored_names.FORMAT, "root": record.id, "request": str(text)}]}:
            return text
        case _:
            raise EngineUnavailable(f"the root {record.id} was not started by Countersign")


def _again_of(record: PromiseRecord) -> Again | None:
    match record.param.data:
        case {"args": [start]} if not is_tampered(record):
            return Again.read(start)
        case _:
            return None


def _is_ending(value: object) -> TypeGuard[dict[str, Any]]:
    match value:
        case {
            "countersign": stored_names.FORMAT,
            "state": "succeeded" | "failed" | "expired" | "cancelled",
            "result": str() | None,
            "error": str() | None,
        }:
            return True
        case _:
            return False
