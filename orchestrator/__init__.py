"""Countersign's durable side: what a workflow author imports.

from orchestrator import Context, open_callback, workflow

Each name is imported when it is first asked for: `python -m orchestrator` passes through here before its own first
line, and has to hear a signal by then.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from orchestrator.asking import Answer, Answers, ask_people
    from orchestrator.callbacks.outcomes import Outcome
    from orchestrator.callbacks.waiting import Address, Callback, open_callback
    from orchestrator.context import Context
    from orchestrator.definition import Workflow, workflow
    from orchestrator.errors import (
        CountersignError,
        StepFailed,
        StepRefused,
        StepUnavailable,
        StoreTampered,
        WorkflowCancelled,
        WorkflowExpired,
        WorkflowFailed,
    )
    from orchestrator.groups import GroupStep, group_step
    from orchestrator.questions import Question

__all__ = [
    "Address",
    "Answer",
    "Answers",
    "Callback",
    "Context",
    "CountersignError",
    "GroupStep",
    "Outcome",
    "Question",
    "StepFailed",
    "StepRefused",
    "StepUnavailable",
    "StoreTampered",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowExpired",
    "WorkflowFailed",
    "ask_people",
    "group_step",
    "open_callback",
    "workflow",
]

_HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "orchestrator.asking": ("Answer", "Answers", "ask_people"),
    "orchestrator.callbacks.outcomes": ("Outcome",),
    "orchestrator.callbacks.waiting": ("Address", "Callback", "open_callback"),
    "orchestrator.context": ("Context",),
    "orchestrator.definition": ("Workflow", "workflow"),
    "orchestrator.errors": (
        *("CountersignError", "StepFailed", "StepRefused", "StepUnavailable", "StoreTampered"),
        *("WorkflowCancelled", "WorkflowExpired", "WorkflowFailed"),
    ),
    "orchestrator.groups": ("GroupStep", "group_step"),
    "orchestrator.questions": ("Question",),
}


def __getattr__(name: str) -> Any:
    """Return what `name` stands for in this package.

    Raises:
        AttributeError: nothing of this name is for workflow authors.
    """
    import importlib  # noqa: PLC0415 - see above

    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
