"""Binding a delivery to the first wait it answered.

A token in a path is not signed by the sender. So whoever has seen a signed delivery could present it again with the
token of another wait, and where nothing in it says when it was signed, for ever. A durable promise remembers the first
wait: creating one that exists returns the one that stands, so it is the same for every process and at any moment. It is
never settled, and holds no token and nothing of the body. A wait is its promise id and the moment it was opened, since
the id alone may come again.
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


#: How long a binding holds where the sender signs no time: for good.
FOR_GOOD: Final = timedelta(days=36525)

#: How long it holds where a captured delivery is refused after some minutes: as long as senders try again.
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
    """Return whether this delivery is bound to the wait of these claims: it is, unless another one came before.

    `key` is 64 hex digits that say which delivery of the source it is.

    Raises:
        EngineUnavailable: whether it is bound now is unknown; the same call again is safe.
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
            # A binding of an earlier release says no moment, and neither does a wait of that time.
            return (wait, rest.get("opened")) == (claims.promise_id, claims.opened_at)
        case _:
            msg = f"the binding of a delivery of {source} is not one of ours"
            raise EngineUnavailable(msg)
