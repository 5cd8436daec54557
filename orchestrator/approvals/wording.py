"""Decisions as people read them: `send_back` is the button "Send back", on the page and in the mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.callbacks.question import Question


def label(decision: str) -> str:
    """Return the text of a decision's button: `send_back` becomes `Send back`."""
    words = decision.replace("_", " ").replace("-", " ")

    return words[:1].upper() + words[1:]


def reason_rule(question: Question) -> str:
    """Return the sentence that says which decisions need a reason, an empty text if none does."""
    if not question.reason_required:
        return ""

    if len(question.reason_required) == len(question.decisions):
        return "A reason is required."

    return f"A reason is required for {_listed([f'“{label(decision)}”' for decision in question.reason_required])}."


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
