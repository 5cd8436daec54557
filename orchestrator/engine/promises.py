"""The engine's promises behind a deadline: every call ends in time, in one of three ways.

An answer, `UnknownPromise`, or `EngineUnavailable`. The SDK's own client may retry for ever and raises whatever its
transport raises; this is the one place where that becomes ours.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from resonate.error import ResonateError, ServerError
from resonate.types import Value

from orchestrator.engine.turns import Turns
from orchestrator.errors import EngineUnavailable, UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resonate.promises import Promises as SDKPromises
    from resonate.types import PromiseRecord

    type _Call = Callable[[], Awaitable[PromiseRecord]]

_NOT_FOUND = 404

#: Requests about one promise that one process has at the engine at once. Whoever holds a single token can ask as often
#: as they like; of the connections to the engine, all others keep the rest.
AT_ONCE: Final = 3


class Promises:
    """Read, create and settle durable promises. `seconds` bounds every single call, the wait for its turn included.

    A few calls about one promise are made at once; further ones wait for those, and further reads share one.
    """

    def __init__(self, promises: SDKPromises, *, seconds: float) -> None:
        self._promises = promises
        self._seconds = seconds
        self._turns = Turns(AT_ONCE)

    async def get(self, promise_id: str) -> PromiseRecord:
        """Return the record of this promise, its payloads decoded.

        Raises:
            UnknownPromise, EngineUnavailable: as the module says.
        """
        return await self._bounded(promise_id, self._turns.share, lambda: self._promises.get(promise_id))

    async def create(
        self,
        promise_id: str,
        *,
        timeout_at: int,
        param: Any,
        tags: Mapping[str, str],
    ) -> PromiseRecord:
        """Create the promise unless it exists, and return the record that stands, which may be an earlier one.

        `timeout_at` is in milliseconds since the epoch.

        Raises:
            EngineUnavailable: whether the promise exists now is unknown; creating it again is safe.
        """
        value = Value(data=param)

        return await self._bounded(
            promise_id,
            self._turns.take,
            lambda: self._promises.create(promise_id, timeout_at, value, dict(tags)),
        )

    async def resolve(self, promise_id: str, value: object) -> PromiseRecord:
        """Resolve the promise unless it is settled, and return the record that stands, whoever wrote it.

        Raises:
            UnknownPromise, EngineUnavailable: as the module says.
        """
        return await self._bounded(
            promise_id, self._turns.take, lambda: self._promises.resolve(promise_id, Value(data=value))
        )

    async def cancel(self, promise_id: str) -> PromiseRecord:
        """Cancel the promise unless it is settled, with no value whatever, and return the record that stands.

        Raises:
            UnknownPromise, EngineUnavailable: as the module says.
        """
        return await self._bounded(promise_id, self._turns.take, lambda: self._promises.cancel(promise_id, Value()))

    async def _bounded(
        self, promise_id: str, in_turn: Callable[[str, _Call], Awaitable[PromiseRecord]], call: _Call
    ) -> PromiseRecord:
        try:
            async with asyncio.timeout(self._seconds):
                return await in_turn(promise_id, call)

        except ServerError as error:
            if error.code == _NOT_FOUND:
                raise UnknownPromise(promise_id) from error

            msg = f"the engine refused the request with status {error.code}"
            raise EngineUnavailable(msg) from error
        except TimeoutError as error:
            msg = f"the engine did not answer within {self._seconds:g} s"
            raise EngineUnavailable(msg) from error
        except (ResonateError, ValueError, TypeError) as error:
            # The last two are what the SDK lets through when an engine answers with something that is no record.
            msg = f"the engine could not be asked ({type(error).__name__})"
            raise EngineUnavailable(msg) from error
