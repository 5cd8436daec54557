"""The report that our notebook leaves in the output of its run, as the notebook's own documentation describes it.

It is authentic because it is read with our credentials from the run that we started, and for no other reason. Any other
notebook may leave anything: what is not exactly a report is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from orchestrator.text.strict_json import loads_strict

#: The number of the format, and how a report begins. The notebook writes it so.
_FORMAT: Final = 1
_BEGIN: Final = '{"countersign":'


@dataclass(frozen=True, kw_only=True)
class NotebookReport:
    """What a notebook reports: the `value` of a success is its result, that of a failure `{"message", "details"}`."""

    outcome: Literal["succeeded", "failed"]
    value: Any


def read_report(exit_value: str | None, error: str | None) -> NotebookReport | None:
    """Return the report in what the run of a notebook has left; None if there is none, or it was cut off.

    `exit_value` is what the notebook gave to `dbutils.notebook.exit`, and `error` the text of the exception that ended
    it, of which the last line may be a report.
    """
    match _read(exit_value):
        case {"outcome": "succeeded", "result": result}:
            return NotebookReport(outcome="succeeded", value=result)

    match _read((error or "").rstrip().rpartition("\n")[2]):
        case {"outcome": "failed", "message": str(message), "details": details}:
            return NotebookReport(outcome="failed", value={"message": message, "details": details})

    return None


def _read(text: str | None) -> object:
    if text is None or not text.startswith(_BEGIN):
        return None

    try:
        value = loads_strict(text.encode())
    except ValueError:
        return None

    return value if isinstance(value, dict) and value.get("countersign") == _FORMAT else None
