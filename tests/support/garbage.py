"""What is left for the garbage collector."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def leaving_none(package: str) -> Iterator[None]:
    """Check that the block leaves no object of this package in a cycle."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)

    try:
        yield
        gc.collect()
        left = [found for found in gc.garbage if type(found).__module__.startswith(f"{package}.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()

    assert left == []
