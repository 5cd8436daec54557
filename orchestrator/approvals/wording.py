"""Decisions as people read them: `send_back` is the button "Send back", on the page and in the mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.callbacks.question import Question

_PAST: Final[Mapping[str, str]] = {"approve": "Approved", "reject": "Rejected"}
_DID: Final[Mapping[str, str]] = {"approve": "approved this", "reject": "rejected this"}


def label(decision: str) -> str:
    """Return the text of a decision's button: `send_back` becomes `Send back`."""
    words = decision.replace("_", " ").replace("-", " ")

    return words[:1].upper() + words[1:]


def past(decision: str) -> str:
    """Return a decision in the past tense if it is a known word, otherwise its label."""
    return _PAST.get(decision, label(decision))


def headline(decision: str) -> str:
    """Return what became of a question: `Approved`, `Rejected`, or `Decided: Send back` for a decision of its own."""
    return _PAST.get(decision, f"Decided: {label(decision)}")


def told(decision: str, who: str) -> str:
    """Return who decided what as a sentence; `who` is its subject, "You" for the reader."""
    return f"{who} {_DID.get(decision, f'chose “{label(decision)}”')}."


def reason_rule(question: Question) -> str:
    """Return the sentence that says which decisions need a reason, an empty text if none does."""
    if not question.reason_required:
        return ""

    if len(question.reason_required) == len(question.decisions):
        return "A reason is required."

    return f"A reason is required for {_listed([f'“{label(decision)}”' for decision in question.reason_required])}."


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
