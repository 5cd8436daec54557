"""`python -m receiver.benchmark`: the benchmark."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from receiver.benchmark.plan import chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The packages with which the service is compared. Only the benchmark needs them.
_EXTRA: Final = ("httptools", "psycopg", "resonate_pg")

REFUSED: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None, *, prog: str = "scripts/bench") -> int:
    """Do what the arguments ask for; return 0, 1 if something was wrong or grew, or 2 if this cannot be done at all."""
    asked = chosen(arguments, prog)

    if asked.results is None and any(find_spec(name) is None for name in _EXTRA):
        print(f"{prog} needs packages to compare with: pip install 'countersign[bench]'", file=sys.stderr)

        return REFUSED

    from receiver.benchmark.outputs import Unusable, run  # noqa: PLC0415 - it imports the extra

    try:
        return run(asked)
    except Unusable as error:
        print(f"{prog}: {error}", file=sys.stderr)

        return REFUSED


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
