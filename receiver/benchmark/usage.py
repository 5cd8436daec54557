"""What processes use, as Linux counts it: CPU time and resident memory, children included.

On a system without /proc there are no figures, and the functions return None.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC: Final = Path("/proc")
#: The places of the parent, of the four CPU times and of the resident pages in a `stat` file, counted from the state.
_PARENT: Final = 1
_TIMES: Final = slice(11, 15)
_PAGES: Final = 21


class _Stat(NamedTuple):
    parent: int
    seconds: float
    resident: int


def cpu_seconds(roots: Iterable[int], proc: Path = PROC) -> float | None:
    """Return the CPU seconds that these processes and all their descendants have used.

    Descendants that have ended count if their parent has waited for them. None if nothing is known.
    """
    tree = _tree(roots, proc)

    return sum(one.seconds for one in tree) if tree else None


def resident_mib(roots: Iterable[int], proc: Path = PROC) -> float | None:
    """Return the resident memory of these processes and their descendants in MiB; None if nothing is known.

    Pages that several of them share are counted for each.
    """
    tree = _tree(roots, proc)

    return sum(one.resident for one in tree) / 2**20 if tree else None


def _tree(roots: Iterable[int], proc: Path) -> list[_Stat]:
    known = {int(folder.name): stat for folder in proc.glob("[0-9]*") if (stat := _read(folder)) is not None}
    found: dict[int, _Stat] = {}
    left = [pid for pid in roots if pid in known]

    while left:
        pid = left.pop()

        if pid not in found:
            found[pid] = known[pid]
            left += [other for other, stat in known.items() if stat.parent == pid]

    return list(found.values())


def _read(folder: Path) -> _Stat | None:
    try:
        text = (folder / "stat").read_text()
    except OSError:  # it has just ended
        return None

    # The name before the last parenthesis may contain anything.
    fields = text.rpartition(")")[2].split()
    ticks = sum(map(int, fields[_TIMES]))

    return _Stat(
        parent=int(fields[_PARENT]),
        seconds=ticks / os.sysconf("SC_CLK_TCK"),
        resident=int(fields[_PAGES]) * os.sysconf("SC_PAGE_SIZE"),
    )
