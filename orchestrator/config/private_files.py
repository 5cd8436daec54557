"""Files and folders that only the service's own user may read, from their first byte, whatever the umask is.

A file that is made first and restricted afterwards is readable in between. Nothing that exists already is changed.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_folder(path: Path) -> None:
    """Make the folder and those above it that are missing, with mode 0700."""
    if path.is_dir():
        return

    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file with mode 0600, unless there is one.

    SQLite gives its journals and write-ahead logs the mode of the file that they belong to.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
