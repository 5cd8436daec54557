"""The engine's promises with a deadline: every call ends in time, in one of three ways.

It returns a record, or raises `UnknownPromise` or `EngineUnavailable`. The SDK's own client may retry forever and
raises whatever its transport raises; this is the only place where those errors become our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resonate.error import Base64DecodeError, ResonateError, SerializationError, ServerError
from resonate.types import Value

from orchestrator.engine.turns import Turns
from orchestrator.engine.within import within
from orchestrator.errors import EngineUnavailable, UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from resonate.promises import Promises as SDKPromises
    from resonate.types import PromiseRecord

    type _Call = Callable[[], Coroutine[Any, Any, PromiseRecord]]
    type Unseal = Callable[[PromiseRecord], Awaitable[PromiseRecord]]
    type AtHand = Callable[[str], PromiseRecord | None]

_NOT_FOUND = 404

#: How many requests about one promise a process sends to the engine at once. The holder of a single token can send any
#: number of requests; this limit leaves the other connections to the engine free for everybody else.
AT_ONCE: Final = 3


class Promises:
    """Read, create and settle durable promises. `seconds` bounds every call, including the wait for its turn.

    Only a few calls about one promise run at once. Further calls wait for those, and waiting reads share one call. An
    engine in this process has no connections to keep free, so its calls take no turns: it passes `at_hand`, which
    returns a record, payloads as stored, if that can be reported at once.
    """

    def __init__(
        self,
        promises: SDKPromises,
        *,
        seconds: float,
        unseal: Unseal | None = None,
        at_hand: AtHand | None = None,
    ) -> None:
        self._promises = promises
        self._seconds = seconds
        self._unseal = unseal
        self._at_hand = at_hand
        self._turns = Turns(AT_ONCE) if at_hand is None else None

    async def get(self, promise_id: str) -> PromiseRecord:
        """Return the record of this promise, its payloads decoded.

        Raises:
            UnknownPromise, EngineUnavailable: as the module says.
        """
        stored = None if self._at_hand is None else self._at_hand(promise_id)

        if stored is not None:
            return await self._bounded(promise_id, self._decoded(stored))

        if self._turns is None:
            return await self._bounded(promise_id, self._promises.get(promise_id))

        shared = self._turns.share(promise_id, lambda: self._promises.get(promise_id))

        return await self._bounded(promise_id, shared)

    async def decoded(self, record: PromiseRecord) -> PromiseRecord | None:
        """Return a record that a search found, its payloads decoded as by `get`; None if they cannot be read.

        Raises:
            EngineUnavailable: whether they can be read is not known.
        """
        try:
            return await within(self._seconds, self._decoded(record))
        except (SerializationError, Base64DecodeError):
            return None
        except (TimeoutError, ResonateError) as error:
            raise EngineUnavailable(f"the request to the engine failed ({type(error).__name__})") from error

    async def create(
        self,
        promise_id: str,
        *,
        timeout_at: int,
        param: Any,
        tags: Mapping[str, str],
    ) -> PromiseRecord:
        """Create the promise unless it exists, and return the stored record, which may be an earlier one.

        `timeout_at` is in milliseconds since the epoch.

        Raises:
            EngineUnavailable: it is unknown whether the promise exists now; creating it again is safe.
        """
        value = Value(data=param)

        return await self._in_turn(promise_id, lambda: self._promises.create(promise_id, timeout_at, value, dict(tags)))

    async def resolve(self, promise_id: str, value: object) -> PromiseRecord:
        """Resolve the promise unless it is settled, and return the stored record, whoever settled it.

        Raises:
            UnknownPromise, EngineUnavailable: as the module says.
        """
        return await self._in_turn(promise_id, lambda: self._promises.resolve(promise_id, Value(data=value)))

    async def cancel(self, promise_id: str) -> PromiseRecord:
        """Cancel the promise unless it is settled, without a value, and return the stored record.

        Raises:
            UnknownPromise, EngineUnavailable: as the module says.
        """
        return await self._in_turn(promise_id, lambda: self._promises.cancel(promise_id, Value()))

    async def _decoded(self, stored: PromiseRecord) -> PromiseRecord:
        plain = stored if self._unseal is None else await self._unseal(stored)

        return self._promises.codec.decode_promise(plain)

    async def _in_turn(self, promise_id: str, call: _Call) -> PromiseRecord:
        return await self._bounded(promise_id, call() if self._turns is None else self._turns.take(promise_id, call))

    async def _bounded(self, promise_id: str, call: Coroutine[Any, Any, PromiseRecord]) -> PromiseRecord:
        try:
            return await within(self._seconds, call)

        except ServerError as error:
            if error.code == _NOT_FOUND:
                raise UnknownPromise(promise_id) from error

            raise EngineUnavailable(f"the engine refused the request with status {error.code}") from error
        except TimeoutError as error:
            raise EngineUnavailable(f"the engine did not answer within {self._seconds:g} s") from error
        except (ResonateError, ValueError, TypeError) as error:
            # The SDK lets ValueError and TypeError through when an engine's reply is not a record.
            raise EngineUnavailable(f"the request to the engine failed ({type(error).__name__})") from error
