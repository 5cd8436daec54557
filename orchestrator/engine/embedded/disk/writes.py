"""What is written to the engine's file, and what is loaded from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.engine.embedded.disk.images import LineageImage
    from orchestrator.engine.embedded.disk.root_rows import RootRow


class Row(NamedTuple):
    """A change of one lineage, made at `at` (milliseconds). Without images it says that the lineage was dropped."""

    seq: int
    origin: str
    at: int
    images: bytes | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole lineage as it was after row `seq`. With `finished_at` it is over, and will be kept on disk only.

    `root` is how it is listed then, None if it is no workflow.
    """

    origin: str
    seq: int
    transient: bool
    finished_at: int | None
    state: bytes
    root: RootRow | None = None


@dataclass(slots=True)
class Writes:
    """What one transaction writes: new rows, lineages to delete, snapshots, and the last row that may be deleted."""

    rows: list[Row] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    trim: int | None = None

    def __bool__(self) -> bool:
        return bool(self.rows or self.gone or self.snapshots or self.trim)


@dataclass(slots=True)
class Recovered:
    """What the file holds: open lineages, their first rows that no snapshot covers, and the ids of archived ones."""

    lineages: dict[str, LineageImage] = field(default_factory=dict)
    uncovered: dict[str, int] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)
    first: int = 1
    last: int = 0
    at: int = 0
