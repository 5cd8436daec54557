"""Test doubles for workflow authors, and for our own suite: `from orchestrator.testing import Trial`.

Each name is imported on first use, because the programs in this room need none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.testing.trial.jobs import TrialJobs
    from orchestrator.testing.trial.mail import Mail
    from orchestrator.testing.trial.runs import Run
    from orchestrator.testing.trial.trial import Trial
    from orchestrator.testing.trial.waits import Wait
    from orchestrator.testing.trial.world import TrialError

__all__ = ["Mail", "Run", "Trial", "TrialError", "TrialJobs", "Wait"]

_HOMES: Final[Mapping[str, str]] = {
    "Mail": "mail",
    "Run": "runs",
    "Trial": "trial",
    "TrialError": "world",
    "TrialJobs": "jobs",
    "Wait": "waits",
}


def __getattr__(name: str) -> Any:
    """Import the public name `name` and return what it stands for.

    Raises:
        AttributeError: this package has no such public name.
    """
    import importlib  # noqa: PLC0415 - see above

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    return getattr(importlib.import_module(f"orchestrator.testing.trial.{_HOMES[name]}"), name)
