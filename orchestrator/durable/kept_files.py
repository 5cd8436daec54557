"""Files that steps keep on their worker's disk: what is too large for the record, or must survive a crash before it.

It is a cache. A file may be gone when it is needed, because it was pushed out by newer ones, or because another machine
goes on with the workflow. So whoever reads it must be able to get its contents again. A file is there as a whole or not
at all, and only the service's own user can read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from orchestrator.config.private_files import make_folder

if TYPE_CHECKING:
    from pathlib import Path

_PART: Final = ".part"

#: How old a file must be, in seconds, to be a leftover of a process that was killed while it wrote it.
_LEFTOVER: Final = 3600.0


class KeptFiles:
    """A folder of files by key, at most `most_files` with `most_bytes` in all. The oldest ones make room for new ones.

    The folder is made when the first file is written. Several processes may share it.
    """

    def __init__(self, folder: Path, *, most_files: int = 500, most_bytes: int = 100_000_000) -> None:
        self._folder = folder
        self._most_files = most_files
        self._most_bytes = most_bytes

    async def read(self, key: str) -> bytes | None:
        """Return what is kept under the key, None if nothing is or it cannot be read."""
        return await anyio.to_thread.run_sync(self._read, self._path(key))

    async def write(self, key: str, data: bytes) -> None:
        """Keep the data under the key, and return once it would survive a crash of the machine.

        Raises:
            ValueError: more data than the folder may hold.
            OSError: it cannot be written. Nothing is kept then, and what was kept before still is.
        """
        if len(data) > self._most_bytes:
            raise ValueError(f"a kept file has at most {self._most_bytes} bytes")

        await anyio.to_thread.run_sync(self._write, self._path(key), data)

    def _path(self, key: str) -> Path:
        return self._folder / hashlib.sha256(key.encode()).hexdigest()

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except OSError:
            return None

    def _write(self, path: Path, data: bytes) -> None:
        make_folder(self._folder)
        part = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_PART}")

        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

        self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        """Delete the oldest files until the others are within the limits, and what a killed process left behind."""
        files: list[tuple[float, Path, int]] = []

        for one in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room, too
                status = one.stat()
                files.append((status.st_mtime, one, status.st_size))

        now = max((at for at, _, _ in files), default=0.0)
        kept = [each for each in files if each[1].suffix != _PART]
        leftover = [path for at, path, _ in files if path.suffix == _PART and at < now - _LEFTOVER]
        size = sum(length for _, _, length in kept)

        # The newest is last, whatever the clock has done since the others were written.
        for number, (_, path, length) in enumerate(sorted(kept, key=lambda each: (each[1] == newest, each))):
            if len(kept) - number <= self._most_files and size <= self._most_bytes:
                break

            size -= length
            leftover.append(path)

        for path in leftover:
            path.unlink(missing_ok=True)
