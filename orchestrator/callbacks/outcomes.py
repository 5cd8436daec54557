"""What a settled wait holds: an envelope that we write, never a caller's JSON as it came.

A caller's body is kept as the JSON *text* it was, inside the envelope. So nothing in it can pass for one of our fields
or for one that the SDK acts on (`__py_pickle`), and numbers come out exactly as they went in.

An engine settles a wait at its deadline by itself, with no value at all: that reads as `expired`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeGuard

import msgspec

from orchestrator import stored_names
from orchestrator.durable.opened_at import opened_at
from orchestrator.durable.wait_end import ended_at_deadline
from orchestrator.errors import WorkflowCancelled, WorkflowExpired, WorkflowFailed
from orchestrator.text.json_writing import dumps_strict, escaped
from orchestrator.text.strict_json import json_equal, loads_strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.types import PromiseRecord

    from orchestrator.errors import WorkflowEnded


type By = Literal["callback", "approver", "webhook", "watcher", "deadline", "cancel", "workflow", "engine", "operator"]

#: How a workflow ends that needs the answer, by the outcomes that close a wait without one.
_ENDS: Final[Mapping[str, type[WorkflowEnded]]] = {"expired": WorkflowExpired, "cancelled": WorkflowCancelled}

_UNSAID: Final = {"expired": "was not answered before its deadline", "cancelled": "was withdrawn"}

#: The outcomes that close a wait without an answer.
CLOSED: Final = frozenset(_ENDS)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a wait ended. `result()` is the value of a success, or raises; `kind` tells everything apart.

    `kind` is `succeeded`, `failed`, `died`, `expired`, `cancelled`, or a decision the workflow allowed. `body` is the
    JSON text that came with it, None where none did. `by` says who settled the wait: the caller itself, the watcher
    that found the job dead, the deadline, a cancel, an operator by hand. `subject` is the label of the token that was
    presented, and for an operator the name of their API key; `reason` is what an operator gave as theirs. `note` is
    what the watcher has to say about a success.
    """

    kind: str
    callback: str
    by: By
    body: str | None = None
    subject: str | None = None
    reason: str | None = None
    note: str | None = None

    @property
    def answered_by(self) -> str:
        """Who gave the answer: the subject of the token, or `operator:KEY` for one given by hand.

        No mail address has a colon, so an operator is never taken for one of the people who were asked.
        """
        return f"operator:{self.subject}" if self.by == "operator" else self.subject or ""

    @property
    def succeeded(self) -> bool:
        """Whether the caller reported success."""
        return self.kind == "succeeded"

    @property
    def value(self) -> Any:
        """The JSON value that came with the outcome, None where none did."""
        return None if self.body is None else loads_strict(self.body.encode())

    @property
    def message(self) -> str:
        """The reason that a failed or died outcome gives, empty if it gives none."""
        value = self.value
        return str(value.get("message", "")) if isinstance(value, dict) else ""

    @property
    def details(self) -> Any:
        """What else a failed or died outcome says, or None."""
        value = self.value
        return value.get("details") if isinstance(value, dict) else None

    def result(self) -> Any:
        """Return the JSON value of a success, or end the workflow as the wait ended.

        Raises:
            WorkflowExpired: the deadline passed.
            WorkflowCancelled: the wait was withdrawn, by a cancel of the workflow say.
            WorkflowFailed: anything else that is no success; with the caller's message, and `outcome` and `details` in
                `error`.
        """
        if self.succeeded:
            return self.value

        told = {"outcome": self.kind} | ({} if self.details is None else {"details": self.details})
        end = _ENDS.get(self.kind, WorkflowFailed)
        how = _UNSAID.get(self.kind, f"ended as {self.kind}")

        raise end(self.message or f"the callback {self.callback} {how}", **told)

    def same_as(self, other: Outcome) -> bool:
        """Whether both are of the same kind, with bodies that are equal as JSON values."""
        if self.kind != other.kind or (self.body is None) != (other.body is None):
            return False

        return self.body == other.body or json_equal(self.value, other.value)


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A wait that is over, as the engine records it.

    `ikey` and `delivery` are None where nobody delivered an answer. `settled_at` is in milliseconds since the epoch.
    """

    outcome: Outcome
    ikey: str | None
    delivery: str | None
    settled_at: int


def envelope(
    promise_id: str, outcome: Outcome, *, ikey: str, delivery: str, opened: int | None = None
) -> dict[str, object]:
    """Return the JSON object that the promise is resolved with, bound to this one promise and to when it was opened."""
    told = {"reason": outcome.reason, "note": outcome.note}

    return {
        "countersign": stored_names.FORMAT,
        "promise": promise_id,
        "opened": opened,
        "callback": outcome.callback,
        "outcome": outcome.kind,
        "body": outcome.body,
        "by": outcome.by,
        "subject": outcome.subject,
        "ikey": ikey,
        "delivery": delivery,
        **{name: text for name, text in told.items() if text is not None},
    }


def read_settled(record: PromiseRecord, *, callback: str) -> Settled | None:
    """Return how the promise of this record was settled, or None while it is pending.

    `callback` names the wait where the record itself does not (its deadline passed, somebody cancelled it outside
    Countersign). A value that is not an envelope for this very promise reads as `cancelled` by `engine`: somebody with
    access to the store wrote it, and it is not an answer.
    """
    if record.state == "pending":
        return None

    settled_at = record.settled_at or 0
    value = record.value.data

    if ended_at_deadline(record):
        outcome = Outcome(kind="expired", callback=callback, by="deadline")
        return Settled(outcome=outcome, ikey=None, delivery=None, settled_at=settled_at)

    if record.state == "resolved" and is_envelope(value, record.id, opened_at(record)):
        return Settled(
            outcome=read_outcome(value), ikey=value["ikey"], delivery=value["delivery"], settled_at=settled_at
        )

    outcome = Outcome(kind="cancelled", callback=callback, by="engine")

    return Settled(outcome=outcome, ikey=None, delivery=None, settled_at=settled_at)


def is_envelope(value: object, promise_id: str, opened: int | None) -> TypeGuard[dict[str, Any]]:
    """Return whether this decoded value is our envelope, written for this promise and not for an earlier one of its id.

    An envelope that names no moment, as in an earlier release, is accepted whenever the promise was opened.
    """
    if not isinstance(value, dict):
        return False

    match value:
        case {
            "countersign": stored_names.FORMAT,
            "promise": str(promise),
            "callback": str(),
            "outcome": str(),
            "body": str() | None,
            "by": str(),
            "subject": str() | None,
            "ikey": str(),
            "delivery": str(),
        } if promise == promise_id:
            is_of_this = value.get("opened") in (None, opened)

            return is_of_this and _is_told(value.get("reason")) and _is_told(value.get("note"))
        case _:
            return False


def _is_told(value: object) -> bool:
    return value is None or isinstance(value, str)


def read_outcome(value: dict[str, Any]) -> Outcome:
    """Return the outcome an envelope holds."""
    return Outcome(
        kind=value["outcome"],
        callback=value["callback"],
        by=value["by"],
        body=value["body"],
        subject=value["subject"],
        reason=value.get("reason"),
        note=value.get("note"),
    )


def body_of(message: str, details: object = None) -> str:
    """Return the body of a failed, died or cancelled outcome as JSON text.

    Raises:
        NotJson: the details cannot be written as JSON.
    """
    document: dict[str, object] = {"message": escaped(message)}

    if details is not None:
        document["details"] = details

    return dumps_strict(document, "the outcome")
