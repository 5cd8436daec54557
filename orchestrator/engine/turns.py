"""Turns: a limited number of calls at once for one key. Later callers wait, or share the result of another call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Turns:
    """Lets `width` calls per key run at once, in the order of their arrival.

    Unused keys take no memory.
    """

    def __init__(self, width: int) -> None:
        self._width: Final = width
        self._keys: Final[dict[str, _Key]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    async def take[T](self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call when it is its turn, and return its result."""
        held = self._enter(key)

        try:
            async with held.turns:
                return await call()
        finally:
            self._leave(key, held)

    async def share[T](self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a call that began after this method was called: our own, or another caller's.

        All callers that wait for their turn at the same time share one call. So `call` must change nothing, and its
        result must be right for all of them.
        """
        held = self._enter(key)

        try:
            while (shared := held.next) is not None:
                await asyncio.wait({shared})

                if not shared.cancelled():
                    result: T = shared.result()
                    return result

            return await _lead(held, call)
        finally:
            self._leave(key, held)

    def _enter(self, key: str) -> _Key:
        held = self._keys.get(key)

        if held is None:
            held = self._keys[key] = _Key(self._width)

        held.users += 1

        return held

    def _leave(self, key: str, held: _Key) -> None:
        held.users -= 1

        if not held.users:
            del self._keys[key]


class _Key:
    """The turns of one key, and the shared result of the next call that has not begun."""

    __slots__ = ("next", "turns", "users")

    def __init__(self, width: int) -> None:
        self.turns: Final = asyncio.Semaphore(width)
        self.next: asyncio.Future[Any] | None = None
        self.users = 0


async def _lead[T](held: _Key, call: Callable[[], Awaitable[T]]) -> T:
    """Make the call for all callers that share it. If this caller gives up, another one makes the call."""
    shared = held.next = asyncio.get_running_loop().create_future()

    try:
        async with held.turns:
            # A caller that comes from now on needs a later call.
            held.next = None
            result = await call()

    except asyncio.CancelledError:
        shared.cancel()
        raise
    except Exception as error:
        shared.set_exception(error)
        shared.exception()  # marks it as retrieved, even if nobody shares the call
        raise
    finally:
        if held.next is shared:
            held.next = None

    shared.set_result(result)

    return result
