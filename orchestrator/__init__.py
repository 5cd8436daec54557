"""Countersign's durable side: what a workflow author imports.

from orchestrator import Context, open_callback, workflow
"""

from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.waiting import Address, Callback, open_callback
from orchestrator.context import Context
from orchestrator.definition import Workflow, workflow
from orchestrator.errors import (
    CountersignError,
    StepRefused,
    StepUnavailable,
    WorkflowCancelled,
    WorkflowExpired,
    WorkflowFailed,
)
from orchestrator.groups import GroupStep, group_step

__all__ = [
    "Address",
    "Callback",
    "Context",
    "CountersignError",
    "GroupStep",
    "Outcome",
    "StepRefused",
    "StepUnavailable",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowExpired",
    "WorkflowFailed",
    "group_step",
    "open_callback",
    "workflow",
]
