"""Follows a document block by block, and reports where the document is wrong.

No block is ignored. A command in a `console` block is typed into a terminal, must succeed, and must print what the
document shows and nothing else. A block whose first line names a file is written to that file. If the repository has
the file, the block must be an excerpt of it. The caller names what cannot be run, with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from support.documents.comparing import is_shown, is_shown_within
from support.documents.markdown import FENCE, Block, blocks

from orchestrator.testing.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.documents.terminal import Terminal

#: Languages of files that the reader writes, or that are in the repository.
_FILES: Final = {"python", "toml", "ini", "sh", "nginx", "caddy"}


class NotAsWritten(AssertionError):
    """The document says something that is not true."""


@dataclass
class Run:
    """The run of one document: what was run, what was skipped and why, and what was only written."""

    document: Path
    terminal: Terminal
    not_run: Mapping[str, str]
    commands: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)

    def all(self) -> None:
        """Follow the whole document.

        Raises:
            NotAsWritten: a command failed or printed something else, a block is of an unknown kind, a file was written
                but never used, or a reason is given for a command that the document does not contain.
        """
        for block in blocks(self.document.read_text("utf-8")):
            self._block(block)

        unused = [name for name in self.written if not self._is_used(name)]

        if unused:
            raise self._fault(self.written[unused[0]], f"{unused[0]} is written, and no later command uses it")

        stale = set(self.not_run) - set(self.left_out)

        if stale:
            raise self._fault(1, f"a reason is given for {sorted(stale)}, which the document does not contain")

    def _block(self, block: Block) -> None:
        key = block.text.splitlines()[0] if block.file else f"{FENCE}{block.language}"

        if key in self.not_run:
            self.left_out[key] = self.not_run[key]
        elif block.language == "console":
            for line, command, shown in _commands(block):
                self._command(line, command, shown)
        elif block.language in _FILES and block.file is not None and not block.file.startswith("/"):
            self._file(block, block.file)
        else:
            raise self._fault(block.line, f"there is no way to run this {block.language or 'plain'} block")

    def _command(self, line: int, command: str, shown: str) -> None:
        if command in self.not_run:
            self.left_out[command] = self.not_run[command]
            return

        ran = self.terminal.run(command)
        self.commands.append(command)

        if ran.code != 0:
            raise self._fault(line, f"`{command}` ended with {ran.code}:\n{ran.printed}")

        if not is_shown(shown, ran.printed):
            raise self._fault(line, f"`{command}` printed\n{ran.printed}\nand the document shows\n{shown}")

    def _file(self, block: Block, name: str) -> None:
        here = ROOT / name

        if here.is_file():
            if not is_shown_within(block.body, _without_indent(here.read_text("utf-8"), block.body)):
                raise self._fault(block.line, f"this is no excerpt of {name}")

            return

        self.terminal.write(name, block.body)
        self.written[name] = block.line

    def _is_used(self, name: str) -> bool:
        module = name.removesuffix(".py").replace("/", ".")

        return any(name in command or module in command for command in self.commands)

    def _fault(self, line: int, text: str) -> NotAsWritten:
        return NotAsWritten(f"{self.document.parent.name}/{self.document.name}:{line}: {text}")


def _without_indent(text: str, excerpt: str) -> str:
    """Return the text with as much indent removed as an excerpt of it may lack."""
    first = excerpt.partition("\n")[0].strip()
    found = next((line for line in text.splitlines() if line.strip().startswith(first)), "")
    indent = " " * (len(found) - len(found.lstrip()) - (len(excerpt) - len(excerpt.lstrip())))

    return "".join(f"{line.removeprefix(indent)}\n" for line in text.splitlines())


def _commands(block: Block) -> Iterator[tuple[int, str, str]]:
    """Yield each command of a console block with its line and the output that the document shows.

    Raises:
        NotAsWritten: there is text before the first command.
    """
    lines = block.text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]

    if not starts or starts[0] != 0:
        raise NotAsWritten(f"line {block.line}: a console block must begin with a command")

    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        rest = start + 1

        while rest < end and lines[rest - 1].endswith("\\"):
            rest += 1

        command = "\n".join([lines[start].removeprefix("$ "), *lines[start + 1 : rest]])
        yield block.line + start, _without_remark(command), "\n".join(lines[rest:end])


def _without_remark(command: str) -> str:
    """Return the command without its remark, which begins with two spaces and a number sign."""
    return "\n".join(line.partition("   # ")[0].rstrip() for line in command.split("\n"))
