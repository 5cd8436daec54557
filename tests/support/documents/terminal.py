"""A terminal in an empty folder, in which the commands of a document are typed one after another.

One shell runs them all, so variables and background programs last from one command to the next. The document's ports
are replaced by free ones in what is typed, and restored in what was printed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from orchestrator.testing.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Final = 120.0
_PAUSE: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command printed, on both streams, and its exit code."""

    printed: str
    code: int


class Terminal:
    """The shell. Leaving the context ends everything that was started in it."""

    def __init__(self, folder: Path, *, ports: tuple[int, ...], environment: Mapping[str, str]) -> None:
        self.home: Final = folder / "home"
        self.work: Final = folder / "work"
        self._record = folder / "terminal"
        self._ports = {str(port): str(free_port()) for port in ports}
        self._environment = {name: self.typed(value) for name, value in environment.items()}
        self._count = 0

    def __enter__(self) -> Self:
        for place in (self.home, self.work, self._record):
            place.mkdir()

        self._output = (self._record / "output").open("wb")
        self._shell = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            cwd=self.work,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"} | self._environment,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )

        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + 10

            while self._is_alive() and time.monotonic() < end:
                self._signal(number)
                time.sleep(_PAUSE)

        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._output.close()

    def typed(self, text: str) -> str:
        """Return a text of the document as it is typed here, with free ports."""
        return self._with_ports(text, self._ports)

    def shown(self, text: str) -> str:
        """Return what was printed here as the document shows it, with the document's ports."""
        return self._with_ports(text, {ours: theirs for theirs, ours in self._ports.items()})

    def run(self, command: str) -> Ran:
        """Type a command and wait for the next prompt.

        Raises:
            TimeoutError: the prompt does not come in time.
        """
        assert self._shell.stdin is not None
        self._count += 1
        script = self._record / f"{self._count}.sh"
        code = self._record / f"{self._count}.code"
        script.write_text(f"{self.typed(command)}\n", "utf-8")
        begin = self._record.joinpath("output").stat().st_size
        line = f". '{script}' </dev/null; echo $? >'{code}.part'; mv '{code}.part' '{code}'\n"
        self._shell.stdin.write(line.encode())
        self._shell.stdin.flush()
        end = time.monotonic() + _SECONDS

        while not code.exists():
            if time.monotonic() > end or self._shell.poll() is not None:
                raise TimeoutError(f"{command!r} did not end within {_SECONDS:g} s: {self._since(begin)!r}")

            time.sleep(_PAUSE)

        return Ran(printed=self.shown(self._since(begin)), code=int(code.read_text()))

    def write(self, name: str, text: str) -> None:
        """Create this file in the shell's folder, as a reader would with an editor."""
        place = self._shell_folder() / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(self.typed(text), "utf-8")

    def logs(self) -> str:
        """Return the ends of the logs that the commands have written so far, for debugging."""
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in sorted(self.home.rglob("*.log")))

    def _shell_folder(self) -> Path:
        return Path(f"/proc/{self._shell.pid}/cwd").readlink()

    def _since(self, begin: int) -> str:
        return self._record.joinpath("output").read_bytes()[begin:].decode("utf-8", "replace")

    @staticmethod
    def _with_ports(text: str, ports: Mapping[str, str]) -> str:
        if not ports:
            return text

        return re.sub(rf"(?<![\w.])(?:{'|'.join(ports)})(?!\w)", lambda found: ports[found[0]], text)

    def _is_alive(self) -> bool:
        self._shell.poll()

        try:
            os.killpg(self._shell.pid, 0)
        except ProcessLookupError:
            return False

        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._shell.pid, number)
        except ProcessLookupError:
            return
