"""Counts bad tokens by client address."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from receiver.http.client_addresses import client_address
from receiver.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope


class BadTokens:
    """Counts bad tokens by client address, in fixed windows that begin with an address's first bad token.

    Wrong API keys, signatures and proofs are counted the same way, each kind by a counter of its own. Memory is
    bounded: beyond `addresses`, the address whose window began first is forgotten. IPv6 addresses count by their /64,
    because a single client usually controls a whole one. Around the border of two windows up to twice the `limit`
    passes.
    """

    def __init__(
        self,
        *,
        limit: int = 60,
        window: float = 60.0,
        addresses: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit: Final = limit
        self._window: Final = window
        self._addresses: Final = addresses
        self._clock: Final = clock
        self._counts: Final[OrderedDict[tuple[str, str], tuple[float, int]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, address: str | None, *, of: str = "") -> int:
        """Count one bad token from `address`; return 0, or the seconds to wait (1 or more) if the limit is exceeded.

        Each value of `of` has a limit of its own.

        Never call this for a genuine token: only bad ones are limited.
        """
        now = self._clock()
        key = (of, _client(address))
        began, seen = self._counts.get(key, (now, 0))
        if not began <= now < began + self._window:
            del self._counts[key]
            began, seen = now, 0

        self._counts[key] = (began, seen + 1)
        if len(self._counts) > self._addresses:
            self._counts.popitem(last=False)

        if seen < self._limit:
            return 0

        return max(1, round(began + self._window - now))

    def refusal(self, scope: Scope, problem: Problem, *, of: str = "") -> Problem:
        """Count one bad token of this request's client; return `problem`, or `rate-limited` beyond the limit."""
        wait = self.count(client_address(scope), of=of)

        return Problem("rate-limited", headers={"Retry-After": str(wait)}) if wait else problem


def _client(address: str | None) -> str:
    if address is None:
        return ""

    if ":" not in address:
        return address

    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address

    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)

    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
