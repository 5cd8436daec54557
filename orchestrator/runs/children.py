"""The id of a sub-workflow, which anybody can work out from its parent's root and the step that runs it.

So a replay finds the sub-workflow it started, and a cancel of the parent finds it too. The id depends on this very
start of the parent: a parent that is started again under the same id, after its record is gone, has new sub-workflows.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from orchestrator.runs.root_ids import RootName, name_of_root
from orchestrator.stored_names import CHILD_TAG, NONCE_TAG

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

#: The id begins with the parent's, for people. What is left of an id of 128 characters is the place and the digest.
_LONGEST_STEM: Final = 80
_LONGEST_PLACE: Final = 30
_DIGITS: Final = 16

_UNPLAIN: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)


def child_of(root: PromiseRecord, step: PromiseRecord) -> RootName | None:
    """Return which workflow this step below the root runs, None if it is another step."""
    name = step.tags.get(CHILD_TAG)

    return None if name is None else RootName(name, child_id(root, step.id))


def child_id(root: PromiseRecord, step_id: str) -> str:
    """Return the id of the sub-workflow that this step below the root runs."""
    place = step_id.partition(":")[2]
    source = f"countersign.child\0{root.id}\0{root.tags.get(NONCE_TAG, root.created_at)}\0{place}"
    digest = hashlib.sha256(source.encode()).hexdigest()[:_DIGITS]
    stem = _UNPLAIN.sub("-", name_of_root(root.id).id)[:_LONGEST_STEM]

    return f"{stem}.{place[-_LONGEST_PLACE:]}-{digest}"
