"""Turns: so many calls at once for one key, and whoever comes later waits, or shares what another one is told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


class Turns:
    """Lets `width` calls of each key run at once, in the order of their arrival.

    Keys that nobody uses take no memory.
    """

    def __init__(self, width: int) -> None:
        self._width: Final = width
        self._keys: Final[dict[str, _Key]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    async def take[T](self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return what the call returns, made when it is its turn."""
        with self._entered(key) as entered:
            async with entered.turns:
                return await call()

    async def share[T](self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call returns that began after this was asked, ours or the one of somebody else.

        All that wait for their turn at the same time share one call, so `call` must change nothing and answer them all.
        """
        with self._entered(key) as entered:
            while (shared := entered.next) is not None:
                await asyncio.wait({shared})

                if not shared.cancelled():
                    answer: T = shared.result()
                    return answer

            return await _lead(entered, call)

    @contextlib.contextmanager
    def _entered(self, key: str) -> Iterator[_Key]:
        held = self._keys.get(key)

        if held is None:
            held = self._keys[key] = _Key(self._width)

        held.users += 1

        try:
            yield held
        finally:
            held.users -= 1

            if not held.users:
                del self._keys[key]


class _Key:
    """The turns of one key, and what those get who share the next one that has not begun."""

    __slots__ = ("next", "turns", "users")

    def __init__(self, width: int) -> None:
        self.turns: Final = asyncio.Semaphore(width)
        self.next: asyncio.Future[Any] | None = None
        self.users = 0


async def _lead[T](held: _Key, call: Callable[[], Awaitable[T]]) -> T:
    """Make the call for all who share it; when this one gives up, another of them makes it."""
    shared = held.next = asyncio.get_running_loop().create_future()

    try:
        async with held.turns:
            # Whoever comes from now on needs an answer to a later question.
            held.next = None
            answer = await call()

    except asyncio.CancelledError:
        shared.cancel()
        raise
    except Exception as error:
        shared.set_exception(error)
        shared.exception()  # it is retrieved, even if nobody shares it
        raise
    finally:
        if held.next is shared:
            held.next = None

    shared.set_result(answer)

    return answer
