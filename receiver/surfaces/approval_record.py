"""The record of a question to people in the workflow API: who was asked, what was shown, what was decided."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.approvals.decision import Decision
from orchestrator.callbacks.outcomes import CLOSED
from orchestrator.text.times import rfc3339

if TYPE_CHECKING:
    from orchestrator.callbacks.outcomes import Outcome
    from orchestrator.callbacks.question import Asked


def settled_document(outcome: Outcome) -> dict[str, Any]:
    """Return who settled a wait; for an operator also the name of their API key, and their reason."""
    if outcome.by != "operator":
        return {"by": outcome.by}

    return {"by": outcome.by, "operator": outcome.subject, "reason": outcome.reason}


def approval_document(asked: Asked, outcome: Outcome | None) -> dict[str, Any]:
    """Return what was asked and, if somebody decided, the decision; `outcome` is None while the wait is open.

    The question is identified by its title and by the digest that the links carry.
    """
    decided = None

    if outcome is not None and outcome.kind not in CLOSED:
        kept = Decision.read(outcome)
        decided = {"decision": outcome.kind, "person": outcome.subject, **({} if kept is None else asdict(kept))}

        if outcome.by == "operator":
            decided |= {"person": None, **settled_document(outcome)}

    return {
        "title": asked.question.title,
        "digest": asked.digest,
        "people": list(asked.inquiry.people),
        "until": rfc3339(asked.until),
        "answer": decided,
    }
