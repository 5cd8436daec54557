"""The promise id of a workflow's root, made of the workflow's name and its id, and read back from it.

A root id must not contain `:`, which every engine reads as the beginning of a step's path. So a `:` is stored as `;`,
which no id may contain: two ids never share a root, and the id of a root without `:` is its plain text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: `.` and `..` are excluded, because clients and proxies resolve them as parts of the path.
_ID: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:+@-]{1,128}", re.ASCII)

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

#: What an id may be, in words.
ID_RULE: Final = "An id has 1 to 128 characters of A-Z a-z 0-9 . _ : + @ - and is neither . nor .."


class RootName(NamedTuple):
    """Which workflow a root is: the workflow's name, and the id under which somebody started it."""

    workflow: str
    id: str

    def __str__(self) -> str:
        return f"{self.workflow}.{self.id}"

    def document(self) -> dict[str, str]:
        """Return the JSON object that names the workflow in responses and log lines."""
        return {"workflow": self.workflow, "id": self.id}


def is_workflow_name(text: str) -> bool:
    """Return whether a workflow can have this name: 1 to 64 of `A-Za-z0-9_-`."""
    return _NAME.fullmatch(text) is not None


def is_workflow_id(text: str) -> bool:
    """Return whether a workflow can be started under this id."""
    return _ID.fullmatch(text) is not None


def root_id_of(workflow: str, workflow_id: str) -> str:
    """Return the promise id of the root of this workflow. The id is taken as it is; check it where it comes in."""
    return f"{workflow}.{workflow_id.replace(':', ';')}"


def name_of_root(promise_id: str) -> RootName:
    """Return which workflow a promise belongs to, given the id of its root or of anything below it."""
    workflow, _, workflow_id = promise_id.partition(":")[0].partition(".")

    return RootName(workflow, workflow_id.replace(";", ":"))
