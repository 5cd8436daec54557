"""What is kept about a question to people, as the workflow API tells it: asked whom, shown what, decided how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.callbacks.outcomes import CLOSED, read_settled
from orchestrator.callbacks.question import Inquiry, digest_of
from orchestrator.runs.call_graph import name_of
from receiver.http.timestamps import rfc3339

if TYPE_CHECKING:
    from resonate.types import PromiseRecord


def approval_of(record: PromiseRecord) -> dict[str, Any] | None:
    """Return what this wait's record holds of a question to people, None where it asks none.

    The question is named by the digest that the links carry, and by its title.
    """
    inquiry = Inquiry.read(record)

    if inquiry is None:
        return None

    asked = {
        "title": inquiry.question.title,
        "digest": digest_of(record),
        "people": list(inquiry.people),
        "until": rfc3339(record.timeout_at),
        "answer": None,
    }
    settled = read_settled(record, callback=name_of(record))

    if settled is None or settled.outcome.kind in CLOSED:
        return asked

    outcome = settled.outcome

    return asked | {"answer": {"decision": outcome.kind, "person": outcome.subject, **(outcome.value or {})}}
