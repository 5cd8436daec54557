"""What code that waits in memory can be told, and what it was told there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from resonate.types import PromiseRecord


class Kept:
    """The wait in memory of one function call, if it is in one, and the answers that it got in such waits."""

    def __init__(self) -> None:
        self._drop: Callable[[], None] | None = None
        #: By the id of the promise. To the SDK these waits are still open.
        self.answers: Final[dict[str, PromiseRecord]] = {}

    def begin(self, drop: Callable[[], None]) -> None:
        """Take note that the code waits. `drop` has it suspended."""
        self._drop = drop

    def end(self) -> None:
        """Take note that it does not wait any more."""
        self._drop = None

    def drop(self) -> bool:
        """Have the code suspended, and return whether it waits."""
        if self._drop is None:
            return False

        self._drop()

        return True
