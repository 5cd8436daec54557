"""What a failed step leaves in the store, as plain data. Nothing that comes from a store is ever unpickled.

The SDK pickles the exception that a step raised, and unpickles what a rejected promise holds. Anyone who can write to
the store, or get a value of their own into it, could then run code in a worker. Here a failure is the name of its type
and its message. Our own errors come back as themselves and all others as `StepFailed`. The first run, where the SDK
reads back what it has written, sees the same as every replay.

Both of the SDK's functions are module-level names that its codec looks up when it is called. They are replaced for the
whole process, and the replacement is tested at once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic_core import to_jsonable_python
from resonate.error import ApplicationError
from resonate.types import PromiseRecord, Value

from orchestrator.errors import (
    CANCELLED,
    Misused,
    NotJson,
    StartRefused,
    StepFailed,
    StepRefused,
    StepUnavailable,
    StoreTampered,
    WorkflowCancelled,
    WorkflowEnded,
    WorkflowExpired,
    WorkflowFailed,
)
from orchestrator.sdk_internals import read_settled, replace_failures

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENDS: Final = {kind.state: kind for kind in (WorkflowFailed, WorkflowExpired, WorkflowCancelled)}

#: The errors that are a text and nothing else.
_OF_A_TEXT: Final[Mapping[str, type[Exception]]] = {
    "refused": StepRefused,
    "not JSON": NotJson,
    "misused": Misused,
    "sdk": ApplicationError,
}


def failure_of(error: Exception) -> dict[str, Any]:  # noqa: PLR0911 - one for each sort of error
    """Return this error as plain data. A subclass of one of our errors is stored as that error."""
    failure: dict[str, Any] = {"__type": "error", "kind": type(error).__name__, "message": _text(str(error))}

    match error:
        case StoreTampered():
            return failure | {"ours": "tampered", "promise": error.promise_id}
        case WorkflowEnded():
            fields = to_jsonable_python(error.error, serialize_unknown=True, inf_nan_mode="null")
            return failure | {"ours": error.state, "error": json.dumps(fields)}
        case StepUnavailable():
            return failure | {"ours": "unavailable", "retry_after": error.retry_after}
        case StepRefused():
            return failure | {"ours": "refused"}
        case NotJson():
            return failure | {"ours": "not JSON"}
        case Misused():
            return failure | {"ours": "misused"}
        case StepFailed():
            return failure | {"kind": error.kind, "message": _text(error.message), "where": error.where}
        case ApplicationError():
            return failure | {"ours": "sdk"}
        case _:
            return failure


def error_of(failure: object) -> Exception:  # noqa: PLR0911 - as above
    """Return the error that this plain data stands for. Of data in another form only the message is used, if any.

    A promise that was rejected or cancelled without a value, or reached its deadline, gives an `ApplicationError`.
    """
    match failure:
        case {"ours": "tampered", "promise": str(promise_id)}:
            return StoreTampered(promise_id)
        case {"ours": "failed" | "expired" | "cancelled" as state, "error": str(text)} if isinstance(
            fields := _json(text), dict
        ):
            return _ENDS[state](str(fields.pop("message", "")), **fields)
        case {"ours": "unavailable", "message": str(message), "retry_after": int() | float() | None as seconds}:
            return StepUnavailable(message, retry_after=seconds)
        case {"ours": "refused" | "not JSON" | "misused" | "sdk" as ours, "message": str(message)}:
            return _OF_A_TEXT[ours](message)
        case {"kind": str(kind), "message": str(message), "where": str(where)}:
            return StepFailed(message, kind=kind, where=where)
        case {"kind": str(kind), "message": str(message)}:
            return StepFailed(message, kind=kind)
        case {"message": str(message)}:
            # Older versions wrote this beside a pickle, which is ignored.
            return StepFailed(message)
        case None:
            return ApplicationError("the promise was settled without a value")
        case _:
            return StepFailed("the promise was rejected with data that is not a failure Countersign wrote")


def is_tampered(record: PromiseRecord) -> bool:
    """Return whether this decoded record marks a promise that does not hold what was written there."""
    value = record.value.data

    return record.state == "rejected" and isinstance(value, dict) and value.get("ours") == "tampered"


def is_cancelled(record: PromiseRecord) -> bool:
    """Return whether this decoded record is of something that a cancel ended: of the workflow itself, or of another."""
    value = record.value.data

    match record.state:
        case "rejected_canceled":
            return True
        case "rejected":
            return isinstance(value, dict) and value.get("ours") == "cancelled"
        case _:
            return False


def failed_as_cancelled(record: PromiseRecord) -> PromiseRecord:
    """Return the decoded record of a promise that was cancelled without a value, as a failure that says so."""
    if record.state != "rejected_canceled" or record.value.data is not None:
        return record

    return msgspec.structs.replace(record, value=Value(data=failure_of(WorkflowCancelled(CANCELLED))))


def failed_as_tampered(record: PromiseRecord) -> PromiseRecord:
    """Return the decoded record, marked as one that does not hold what was written there."""
    failure = Value(data=failure_of(StoreTampered(record.id)))

    return msgspec.structs.replace(record, state="rejected", value=failure)


def forbid_pickles() -> None:
    """Make the SDK write and read failures as plain data, in this whole process.

    Raises:
        StartRefused: this version of the SDK ignores the replacement.
    """
    replace_failures(failure_of, error_of)
    failure = Value(data={"kind": "Tried", "message": ""})

    try:
        read_settled(PromiseRecord(id="tried", state="rejected", value=failure, timeout_at=0))
    except StepFailed:
        return
    except Exception as error:
        raise StartRefused("this version of resonate-sdk unpickles what a promise holds") from error


def _text(message: str) -> str:
    """Return the message without lone surrogates, which no JSON text can carry."""
    return message.encode("utf-8", "replace").decode()


def _json(text: str) -> Any:
    """Return the value of this JSON text, or None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
