"""What goes into the engine's file, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.engine.embedded.disk.images import LineageImage


class Row(NamedTuple):
    """A change of one lineage at a time (milliseconds). No images: the lineage was dropped."""

    seq: int
    origin: str
    at: int
    images: bytes | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole lineage as it was after row `seq`; `finished_at` where it is over and wants to be kept only on disk."""

    origin: str
    seq: int
    transient: bool
    finished_at: int | None
    state: bytes


@dataclass(slots=True)
class Writes:
    """What one transaction writes: new rows, lineages to delete, snapshots, and the last row that can go."""

    rows: list[Row] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    trim: int | None = None

    def __bool__(self) -> bool:
        return bool(self.rows or self.gone or self.snapshots or self.trim)


@dataclass(slots=True)
class Recovered:
    """What the file holds: open lineages with the first row that no snapshot covers, the ids of those kept on disk."""

    lineages: dict[str, LineageImage] = field(default_factory=dict)
    uncovered: dict[str, int] = field(default_factory=dict)
    archived: set[str] = field(default_factory=set)
    first: int = 1
    last: int = 0
    at: int = 0
