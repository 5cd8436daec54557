"""`python -m receiver.benchmark`: the benchmark."""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from receiver.benchmark.plan import chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The packages with which the service is compared. Only the benchmark needs them.
_EXTRA: Final = ("httptools", "psycopg", "resonate_pg")

REFUSED: Final = 2


def main(arguments: Sequence[str] | None = None, *, prog: str = "scripts/bench") -> int:
    """Measure and print the table; return 0, 1 if something was wrong, or 2 if the benchmark's extra is missing."""
    plan, samples = chosen(arguments, prog)

    if any(find_spec(name) is None for name in _EXTRA):
        print(f"{prog} needs packages to compare with: pip install 'countersign[bench]'", file=sys.stderr)

        return REFUSED

    from receiver.benchmark.bench import run_plan  # noqa: PLC0415 - it imports the extra

    return run_plan(plan, samples)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
