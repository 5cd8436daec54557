"""Which outcomes a wait allows, read from its record: what its tokens say, for somebody who has none.

A question allows its decisions. A wait for a machine allows success and failure, unless its record says otherwise: that
is noted only where it differs, so that most waits need no further tag.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orchestrator.callbacks.question import Inquiry
from orchestrator.stored_names import OUTCOMES_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resonate.types import PromiseRecord

#: What a wait allows whose code names nothing else.
USUAL: Final = ("succeeded", "failed")


def choice_tags(outcomes: Sequence[str]) -> Mapping[str, str]:
    """Return the tags of a wait that allows these outcomes and asks no question."""
    return {} if tuple(outcomes) == USUAL else {OUTCOMES_TAG: json.dumps(list(outcomes))}


def choices_of(record: PromiseRecord) -> tuple[str, ...]:
    """Return the outcomes that the wait of this record allows, other than its being closed without an answer."""
    inquiry = Inquiry.read(record)

    if inquiry is not None:
        return tuple(inquiry.question.decisions)

    noted = record.tags.get(OUTCOMES_TAG)

    if noted is None:
        return USUAL

    try:
        return tuple(map(str, json.loads(noted)))
    except (ValueError, TypeError):
        # Somebody has changed the tag: nothing is allowed rather than something that the workflow cannot take.
        return ()
