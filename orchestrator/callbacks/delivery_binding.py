"""Binding a delivery to the first wait it answered.

The sender does not sign a token in a path. So anybody who has seen a signed delivery could present it again with the
token of another wait, and could do so forever if the delivery does not say when it was signed. A durable promise
remembers the first wait. Creating a promise that exists returns the existing one, so every process sees the same wait
at any time. The promise is never settled, and holds no token and nothing of the body. A wait is identified by its
promise id and the moment it was opened, because the id alone may be used again.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from orchestrator import stored_names
from orchestrator.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.callbacks.claims import Claims
    from orchestrator.engine.promises import Promises


#: How long a binding lasts if the sender signs no time: a hundred years.
PERMANENTLY: Final = timedelta(days=36525)

#: How long it lasts if a captured delivery is refused after some minutes: as long as senders retry.
WHILE_RETRIED: Final = timedelta(days=7)


async def bind(  # noqa: PLR0913 - one call, all of it named
    promises: Promises,
    *,
    source: str,
    key: str,
    claims: Claims,
    lasts: timedelta,
    clock: Callable[[], float] = time.time,
) -> bool:
    """Bind this delivery to the wait of these claims, unless it is bound already. Return whether it is bound to it.

    `key` is 64 hex digits that say which delivery of the source it is.

    Raises:
        EngineUnavailable: whether it is bound now is unknown; repeating the call is safe.
    """
    record = await promises.create(
        f"countersign~delivery.{source}.{key}",
        timeout_at=int((clock() + lasts.total_seconds()) * 1000),
        param={
            "countersign": stored_names.FORMAT,
            "source": source,
            "key": key,
            "wait": claims.promise_id,
            "opened": claims.opened_at,
        },
        tags={"countersign:binding": "true"},
    )

    match record.param.data:
        case {
            "countersign": stored_names.FORMAT,
            "source": bound_source,
            "key": bound_key,
            "wait": str(wait),
            **rest,
        } if bound_source == source and bound_key == key:
            # A binding of an earlier release holds no moment, and neither do the claims of a wait of that release.
            return (wait, rest.get("opened")) == (claims.promise_id, claims.opened_at)
        case _:
            raise EngineUnavailable(f"the binding of a delivery of {source} was not written by Countersign")
