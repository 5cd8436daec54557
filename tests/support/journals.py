"""Rows for an engine file, and what is loaded from one."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from orchestrator.engine.embedded.disk.images import TaskImage, encode
from orchestrator.engine.embedded.disk.journal import Journal
from orchestrator.engine.embedded.disk.writes import Recovered, Row


def images(version: int, id_: str = "a") -> bytes:
    return encode([TaskImage(id_, "suspended", version, None, None, set())])


def row(seq: int, version: int, origin: str = "a") -> Row:
    return Row(seq, origin, 1000 + seq, images(version, origin))


def reopened(path: Path) -> Recovered:
    journal = Journal(path)

    try:
        return journal.open()
    finally:
        journal.close()


def versions(recovered: Recovered) -> dict[str, int]:
    return {origin: image.tasks[origin].version for origin, image in recovered.lineages.items()}


def fingerprint(folder: Path) -> dict[str, str]:
    files = [file for file in folder.iterdir() if file.suffix != ".lock"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def damage(path: Path, sql: str, *values: object) -> dict[str, str]:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(sql, values)
    db.close()
    return fingerprint(path.parent)
