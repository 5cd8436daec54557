"""The texts of pages, kept in files of the worker: bounded in number and bytes, private, and safe to lose.

A file is named after the SHA-256 of its text, so it cannot be confused with another, and one that was cut off or
changed is the same as one that is gone. Several processes may share the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
from pathlib import Path
from typing import Final

from orchestrator.config.private_files import make_folder

logger = logging.getLogger(__name__)

DEFAULT_PLACE: Final = Path(".countersign/pages")

#: Texts, and bytes of all of them together.
_MOST: Final = 200
_LARGEST: Final = 100 * 1024 * 1024

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def digest_of(text: str) -> str:
    """Return the SHA-256 of the text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


class KeptTexts:
    """Texts by their digests, in one folder, or nowhere if it is None. Everything here blocks."""

    def __init__(self, folder: Path | None = DEFAULT_PLACE, *, most: int = _MOST, largest: int = _LARGEST) -> None:
        self._folder = folder
        self._most = most
        self._largest = largest

    def keep(self, text: str) -> None:
        """Keep the text if it can be; the texts that were used least recently make room. A failure is only logged."""
        if self._folder is None:
            return

        try:
            make_folder(self._folder)
            self._write(self._folder / digest_of(text), text.encode())
            self._make_room(self._folder)
        except OSError as error:
            logger.warning("a page could not be kept and will be fetched again: %s", error.strerror)

    def find(self, digest: str) -> str | None:
        """Return the text with this digest, or None if it is not kept any more."""
        if self._folder is None or not _DIGEST.fullmatch(digest):
            return None

        file = self._folder / digest

        try:
            text = file.read_bytes().decode()
            os.utime(file)
        except (OSError, UnicodeDecodeError):
            return None

        return text if digest_of(text) == digest else None

    def _write(self, file: Path, content: bytes) -> None:
        """Write the file under another name first, so that nobody ever sees half of it."""
        unfinished = file.with_name(f".{secrets.token_hex(8)}")

        try:
            descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)

            with os.fdopen(descriptor, "wb") as new:
                new.write(content)

            unfinished.replace(file)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink()

            raise

    def _make_room(self, folder: Path) -> None:
        """Remove what was used least recently, files that a killed process left unfinished included."""
        found = []

        for file in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                found.append((status.st_mtime_ns, status.st_size, file))

        count, size = 0, 0

        for _, bytes_, file in sorted(found, reverse=True):
            count, size = count + 1, size + bytes_

            if count > self._most or size > self._largest:
                file.unlink(missing_ok=True)
