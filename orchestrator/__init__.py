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

__all__ = [
    "Address",
    "Callback",
    "Context",
    "CountersignError",
    "Outcome",
    "StepRefused",
    "StepUnavailable",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowExpired",
    "WorkflowFailed",
    "open_callback",
    "workflow",
]
