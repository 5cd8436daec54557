"""The `countersign` command: each of the programs that a wheel brings, by name.

A program is imported when it is asked for, so each needs only what it needs itself, and those that serve hear a signal
before anything that takes long. So this file imports nothing that takes long either.
"""

from __future__ import annotations

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
    """Run the program that the first argument names; return its exit code, 2 where there is none of this name."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ("",)

    try:
        try:
            return _run(name, rest)
        finally:
            # A reader that is gone shows here, before the interpreter flushes and can no longer be told what to do.
            if sys.stdout is not None:
                sys.stdout.flush()

    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Without this the interpreter fails once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    "doctor": (_doctor, "try each thing that the configuration names"),
    "keys": (_keys, "print fresh values for every secret, ready for an env file"),
    "notebook": (_notebook, "print the Databricks notebook that works and calls back"),
    "emulator": (_emulator, "a Databricks Jobs API on loopback, to try things on"),
    "bench": (_bench, "measure the service on this machine"),
}


def _listening() -> Signals:
    """Take the signals, and let modules be found as `python -m` finds them."""
    signals = Signals()
    signals.listen()
    _find_modules_here()

    return signals


def _find_modules_here() -> None:
    """Let COUNTERSIGN_WORKFLOWS name modules in the working directory, unless Python was told not to look there."""
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
