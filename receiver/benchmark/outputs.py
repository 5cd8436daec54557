"""Running what the command line asks for, and writing the results where it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from receiver.benchmark.pictures import draw_results, draw_soak
from receiver.benchmark.plan import Plan, SoakPlan
from receiver.benchmark.results import NotResults, Results
from receiver.benchmark.soak_results import SoakResults
from receiver.benchmark.table import table

if TYPE_CHECKING:
    from pathlib import Path

    from receiver.benchmark.plan import Chosen

_BLOCK: Final = re.compile(r"^```text\n.*?^```$", re.MULTILINE | re.DOTALL)


class Unusable(Exception):
    """A file that the command line names cannot be used. The text says why."""


def run(asked: Chosen) -> int:
    """Measure, or read results, and show them; return the exit code.

    Raises:
        Unusable: a file cannot be read or written. Where that can be known, nothing is measured first.
    """
    for file in (asked.json, asked.picture, asked.readme):
        if file is not None and not file.absolute().parent.is_dir():
            raise Unusable(f"there is no folder for {file}")

    if asked.readme is not None:
        _replaced(asked.readme, "")

    try:
        return _soaked(asked, asked.plan) if isinstance(asked.plan, SoakPlan) else _measured(asked, asked.plan)
    except NotResults as error:
        raise Unusable(str(error)) from error
    except OSError as error:
        raise Unusable(f"{error.filename} cannot be written: {error.strerror}") from error


def _measured(asked: Chosen, plan: Plan) -> int:
    if asked.results is not None:
        results, code = Results.read(asked.results), 0
    else:
        from receiver.benchmark.bench import measure  # noqa: PLC0415 - it imports the extra

        results, code = measure(plan)

    if asked.json is not None:
        results.write(asked.json)

    if code != 0:
        return code

    print(table(results))

    if asked.picture is not None:
        asked.picture.write_text(draw_results(results), "utf-8")

    if asked.readme is not None:
        asked.readme.write_text(_replaced(asked.readme, table(results)), "utf-8")

    return code


def _soaked(asked: Chosen, plan: SoakPlan) -> int:
    if asked.results is not None:
        results = SoakResults.read(asked.results)
        code = 0 if results.flat else 1
    else:
        from receiver.benchmark.soak import soak  # noqa: PLC0415 - it imports the extra

        results, code = soak(plan)

    if asked.json is not None:
        results.write(asked.json)

    print(*(verdict.line for verdict in results.verdicts()), results.machine, sep="\n")

    if asked.picture is not None:
        asked.picture.write_text(draw_soak(results), "utf-8")

    return code


def _replaced(document: Path, text: str) -> str:
    """Return the document with this text in its first block of plain text.

    Raises:
        Unusable: it has no such block.
    """
    try:
        before = document.read_text("utf-8")
    except OSError as error:
        raise Unusable(f"{document} cannot be read: {error.strerror}") from error

    after, found = _BLOCK.subn(lambda _: f"```text\n{text}\n```", before, count=1)

    if not found:
        raise Unusable(f"{document} has no block that begins with ```text")

    return after
