"""Countersign's durable side: what a workflow author imports.

from orchestrator import Context, open_callback, workflow
"""

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
