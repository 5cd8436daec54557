"""What the workflow API says about an error that ended a workflow, with the author's line.

Only the texts of our own errors are shown, because they never quote a body.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import CountersignError, Misused, NotJson, StepFailed, WorkflowEnded
from orchestrator.text.crashes import leaves_of, place_in, short_name
from orchestrator.text.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable

#: How many errors of a task group the workflow's own error names.
_LEAVES_SHOWN: Final = 3

#: The end of a text that names a line already.
_PLACED: Final = re.compile(r" at \S+:\d+ in \S+\Z")


def told(error: BaseException, body: Callable[..., Any]) -> str:
    """Return what the workflow API says about an error that left this code, the function of a workflow."""
    if isinstance(error, Misused | NotJson):
        text = str(error)

        return text if _PLACED.search(text) else f"{text}{_place(error, body)}"

    if isinstance(error, StepFailed):
        # Its message is the author's, and may quote what the step was given.
        return f"a step raised {error.kind or 'an error'}" + (f": {error.where}" if error.where else "")

    if isinstance(error, CountersignError):
        return redact(f"{short_name(type(error))}: {error}")

    raised = f"the workflow's code raised {short_name(type(error))}{_place(error, body)}"

    if isinstance(error, BaseExceptionGroup):
        # What a step raised, for one. Other exceptions have their lines in the log.
        ours = [each for each in leaves_of(error) if isinstance(each, CountersignError)]
        texts = [str(each) if isinstance(each, WorkflowEnded) else told(each, body) for each in ours]
        raised += f": {'; '.join(texts[:_LEAVES_SHOWN])}" if texts else ""

    return raised


def _place(error: BaseException, body: Callable[..., Any]) -> str:
    return place_in(error, inspect.unwrap(body).__code__.co_filename)
