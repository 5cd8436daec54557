"""Countersign's durable side: what a workflow author imports.

from orchestrator import Context, open_callback, workflow

Each name is imported on first use: `python -m orchestrator` imports this package before its own first line, where it
starts to listen for signals, so nothing slow is imported here.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from orchestrator.approvals.ask_people import Answer, Answers, ask_people
    from orchestrator.callbacks.address import Address
    from orchestrator.callbacks.callback import Callback, open_callback
    from orchestrator.callbacks.outcomes import Outcome
    from orchestrator.callbacks.question import Question
    from orchestrator.databricks.run_job import JobResult, run_job
    from orchestrator.durable.compensation import compensating
    from orchestrator.durable.context import Context
    from orchestrator.durable.dependencies import Dependency, dependency
    from orchestrator.durable.group_steps import GroupStep, group_step
    from orchestrator.durable.steps import Step, step
    from orchestrator.errors import (
        CountersignError,
        JobFailed,
        Misused,
        NotUndone,
        StepFailed,
        StepRefused,
        StepUnavailable,
        StoreTampered,
        WorkflowCancelled,
        WorkflowExpired,
        WorkflowFailed,
    )
    from orchestrator.runs.definition import Workflow, workflow
    from orchestrator.runs.subworkflow import Subworkflow, run_workflow

__all__ = [
    "Address",
    "Answer",
    "Answers",
    "Callback",
    "Context",
    "CountersignError",
    "Dependency",
    "GroupStep",
    "JobFailed",
    "JobResult",
    "Misused",
    "NotUndone",
    "Outcome",
    "Question",
    "Step",
    "StepFailed",
    "StepRefused",
    "StepUnavailable",
    "StoreTampered",
    "Subworkflow",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowExpired",
    "WorkflowFailed",
    "ask_people",
    "compensating",
    "dependency",
    "group_step",
    "open_callback",
    "run_job",
    "run_workflow",
    "step",
    "workflow",
]

_HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "orchestrator.approvals.ask_people": ("Answer", "Answers", "ask_people"),
    "orchestrator.callbacks.outcomes": ("Outcome",),
    "orchestrator.callbacks.address": ("Address",),
    "orchestrator.callbacks.callback": ("Callback", "open_callback"),
    "orchestrator.databricks.run_job": ("JobResult", "run_job"),
    "orchestrator.durable.compensation": ("compensating",),
    "orchestrator.durable.context": ("Context",),
    "orchestrator.runs.definition": ("Workflow", "workflow"),
    "orchestrator.runs.subworkflow": ("Subworkflow", "run_workflow"),
    "orchestrator.errors": (
        *("CountersignError", "JobFailed", "Misused", "NotUndone", "StepFailed", "StepRefused", "StepUnavailable"),
        *("StoreTampered", "WorkflowCancelled", "WorkflowExpired", "WorkflowFailed"),
    ),
    "orchestrator.durable.dependencies": ("Dependency", "dependency"),
    "orchestrator.durable.group_steps": ("GroupStep", "group_step"),
    "orchestrator.durable.steps": ("Step", "step"),
    "orchestrator.callbacks.question": ("Question",),
}


def __getattr__(name: str) -> Any:
    """Import the public name `name` and return what it stands for.

    Raises:
        AttributeError: this package has no such public name.
    """
    import importlib  # noqa: PLC0415 - see above

    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
