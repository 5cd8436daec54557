"""The `countersign` command, which runs each program of the wheel by its name.

A program is imported only when it is run, so that each needs only its own dependencies, and so that the receiver and
the worker handle signals before their slow imports. For the same reason this file imports nothing slow.
"""

from __future__ import annotations

import errno
import os
import sys

from orchestrator.signals import Signals

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than all of this

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final

    type Program = Callable[[Sequence[str], str], int]

REFUSED: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program that the first argument names; return its exit code, or 2 if there is no such program."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ("",)

    try:
        try:
            return _run(name, rest)
        finally:
            # Flushed here, so that a closed pipe raises now and not when the interpreter ends.
            if sys.stdout is not None:
                sys.stdout.flush()

    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in {errno.EPIPE, errno.ENOSPC}:
            raise

        # Without this, the interpreter's final flush would fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

        if error.errno == errno.ENOSPC:
            print(f"countersign {name}: there is no space left for {error.filename or 'the output'}", file=sys.stderr)

        return 1


def _run(name: str, arguments: Sequence[str]) -> int:
    if name in COMMANDS:
        program, _ = COMMANDS[name]
        return program(arguments, f"countersign {name}")

    if name in {"-h", "--help"}:
        print(_help())
    elif name == "--version":
        print(f"countersign {_version()}")
    else:
        unknown = f"countersign: there is no command {name!r}; there are {', '.join(COMMANDS)}"
        print(unknown if name else _help(), file=sys.stderr)
        return REFUSED

    return 0


def _receiver(arguments: Sequence[str], prog: str) -> int:
    signals = _listening()
    from receiver.__main__ import main as run

    return run(arguments, prog=prog, signals=signals)


def _worker(arguments: Sequence[str], prog: str) -> int:
    signals = _listening()
    from orchestrator.__main__ import main as run

    return run(arguments, prog=prog, signals=signals)


def _doctor(arguments: Sequence[str], prog: str) -> int:
    _find_modules_here()
    from receiver.commands.doctor import main as run

    return run(arguments, prog=prog)


def _keys(arguments: Sequence[str], prog: str) -> int:
    from receiver.commands.keys import main as run

    return run(arguments, prog=prog)


def _notebook(arguments: Sequence[str], prog: str) -> int:
    from receiver.commands.notebook import main as run

    return run(arguments, prog=prog)


def _emulator(arguments: Sequence[str], prog: str) -> int:
    from orchestrator.testing.emulator.__main__ import main as run

    return run(arguments, prog=prog)


def _bench(arguments: Sequence[str], prog: str) -> int:
    from receiver.benchmark.__main__ import main as run

    return run(arguments, prog=prog)


COMMANDS: Final[Mapping[str, tuple[Program, str]]] = {
    "receiver": (_receiver, "the HTTP edge; with an embedded engine the workers of all groups as well"),
    "worker": (_worker, "a worker for one worker group, where the engine is not embedded"),
    "doctor": (_doctor, "check each thing that the configuration names"),
    "keys": (_keys, "print fresh values for every secret, ready for an env file"),
    "notebook": (_notebook, "print the Databricks notebook, which does the work and calls back"),
    "emulator": (_emulator, "a local Databricks Jobs API, for trying things out"),
    "bench": (_bench, "measure the service on this machine"),
}


def _listening() -> Signals:
    """Start to handle signals, and let modules be found as `python -m` finds them."""
    signals = Signals()
    signals.listen()
    _find_modules_here()

    return signals


def _find_modules_here() -> None:
    """Let COUNTERSIGN_WORKFLOWS name modules in the working directory, except in Python's safe-path mode."""
    if not sys.flags.safe_path:
        sys.path.insert(0, "")


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items())

    return (
        "usage: countersign [-h] [--version] COMMAND ...\n\n"
        "Signed callbacks for durable workflows.\n\n"
        f"commands:\n{commands}\n\n"
        "`countersign COMMAND --help` says what a command takes. COUNTERSIGN_* variables and .env configure them."
    )


def _version() -> str:
    from importlib.metadata import version

    return version("countersign")
