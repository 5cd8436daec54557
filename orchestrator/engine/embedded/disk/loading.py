"""Loading the engine's file: the snapshots, then the rows of the journal that they do not cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.engine.embedded.disk.images import ImageError, LineageImage, decode
from orchestrator.engine.embedded.disk.writes import Recovered

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator


def load(db: sqlite3.Connection) -> Recovered:
    """Return what the file holds, of finished lineages only the ids: there may be very many.

    Raises:
        sqlite3.Error, ImageError: it cannot be read.
    """
    recovered = Recovered()
    covered: dict[str, int] = dict(
        db.execute("SELECT origin, max(seq) FROM journal WHERE images IS NULL GROUP BY origin")
    )

    for origin, seq, state in db.execute("SELECT origin, seq, state FROM lineages"):
        covered[origin] = seq
        recovered.lineages[origin] = image = LineageImage()
        image.apply(decode(state))

    for origin, seq in db.execute("SELECT origin, seq FROM finished"):
        covered[origin] = seq
        recovered.archived.add(origin)

    _replay(db, recovered, covered)
    return recovered


def read_finished(db: sqlite3.Connection, origin: str) -> LineageImage | None:
    """Return a finished lineage, None if the file does not have it.

    Raises:
        sqlite3.Error, ImageError: it cannot be read.
    """
    found = db.execute("SELECT state FROM finished WHERE origin = ?", (origin,)).fetchone()

    if found is None:
        return None

    image = LineageImage()
    image.apply(decode(found[0]))
    return image


def _replay(db: sqlite3.Connection, recovered: Recovered, covered: dict[str, int]) -> None:
    rows: Iterator[tuple[int, str, int, bytes | None]] = db.execute(
        "SELECT seq, origin, at, images FROM journal ORDER BY seq"
    )

    for count, (seq, origin, at, images) in enumerate(rows):
        if count == 0:
            recovered.first = seq

        if seq != recovered.first + count:
            raise ImageError(f"row {recovered.first + count} is missing")

        recovered.last = seq
        recovered.at = max(recovered.at, at)

        if images is None or seq <= covered.get(origin, 0):
            continue

        recovered.uncovered.setdefault(origin, seq)
        _image(db, recovered, origin).apply(decode(images))


def _image(db: sqlite3.Connection, recovered: Recovered, origin: str) -> LineageImage:
    image = recovered.lineages.get(origin)

    if image is None:
        kept = read_finished(db, origin) if origin in recovered.archived else None
        recovered.archived.discard(origin)
        image = recovered.lineages[origin] = LineageImage() if kept is None else kept

    return image
