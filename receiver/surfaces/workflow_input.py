"""Whether a JSON value is a valid input of a workflow: the same check for the workflow API and for webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from orchestrator.runs.definition import field_of

if TYPE_CHECKING:
    from orchestrator.runs.definition import Workflow

_LONGEST_NAME: Final = 100
_MOST_FAULTS: Final = 50


def faults_of(workflow: Workflow[Any], value: object) -> list[dict[str, str]]:
    """Return the value's faults, each a `field` and a `message`; an unknown field is a fault. Empty if it is valid.

    The messages do not quote the value, but names of unknown fields come from it.
    """
    if not isinstance(value, dict):
        return [{"field": "input", "message": "Input should be a JSON object"}]

    try:
        workflow.request.model_validate(value, extra="forbid")
    except ValidationError as error:
        return [
            {"field": field_of(fault["loc"])[:_LONGEST_NAME], "message": fault["msg"]}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_FAULTS]
        ]

    return []


def describe_faults(faults: list[dict[str, str]]) -> str:
    """Return a sentence that names the fields."""
    return f"These fields are not valid: {', '.join(dict.fromkeys(fault['field'] for fault in faults))}."
