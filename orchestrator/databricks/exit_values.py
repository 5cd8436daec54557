"""Reading what a notebook has left: any exit value of its own, or the report of a notebook of ours.

A report is one JSON object, as `countersign notebook` documents it. It stands in the exit value, or, if the notebook
failed and could not call back, in the last line of its error. Whoever may change the notebook may write one, and could
write any other result as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from orchestrator import stored_names
from orchestrator.callbacks.outcomes import body_of
from orchestrator.text.json_writing import dumps_strict, escaped
from orchestrator.text.strict_json import loads_strict

if TYPE_CHECKING:
    from orchestrator.databricks.run import RunOutput

#: How many characters of JSON a result may have: an engine hands it to the workflow again in each replay.
LARGEST: Final = 1_000_000

_LONGEST_MESSAGE: Final = 10_000

_NULL: Final = "null"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an exit value says: `result` as JSON text, or `failure`, the body of a failed outcome.

    `note` says why there is no result although the notebook gave one.
    """

    result: str = _NULL
    failure: str | None = None
    note: str | None = None

    @classmethod
    def nothing(cls) -> Self:
        """Return what a notebook says that never called `dbutils.notebook.exit`."""
        return cls()

    @property
    def is_something(self) -> bool:
        """Whether the notebook gave anything."""
        return self != self.nothing()


def read_exit_value(output: RunOutput) -> Report:
    """Return what the exit value of this output says."""
    if output.truncated:
        return Report(note="the output is larger than the 5 MB that Databricks returns: store it instead")

    if not output.exit_value:
        return Report.nothing()

    value = _value_of(output.exit_value)

    match value:
        case {"countersign": stored_names.FORMAT, "outcome": "failed", "message": str(message)}:
            return Report(failure=_failure(message, value.get("details")))
        case {"countersign": stored_names.FORMAT, "outcome": "succeeded", "result": result}:
            value = result

    text = dumps_strict(value, "the output")

    if len(text) > LARGEST:
        return Report(note=f"the output has {len(text)} characters of JSON, more than {LARGEST}: store it instead")

    return Report(result=text)


def read_last_line(error: str | None) -> str | None:
    """Return the failure that the last line of an error reports, as the body of a failed outcome, or None."""
    match _value_of((error or "").rstrip().rpartition("\n")[2]):
        case {"countersign": stored_names.FORMAT, "outcome": "failed", "message": str(message), **rest}:
            return _failure(message, rest.get("details"))
        case _:
            return None


def _failure(message: str, details: object) -> str:
    body = body_of(message[:_LONGEST_MESSAGE], details)

    return body if len(body) <= LARGEST else body_of(message[:_LONGEST_MESSAGE])


def _value_of(text: str) -> Any:
    """Return the JSON value that this text is, or the text itself."""
    try:
        value = loads_strict(text.encode())
        # Read and written strictly, or not JSON that every reader reads in the same way.
        dumps_strict(value, "the output")
    except ValueError:  # `NotJson` is one
        return escaped(text)

    return value
