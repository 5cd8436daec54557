"""A look at what an engine does with a promise at its deadline when no task stands behind it.

Some engines end it, others leave it pending until somebody asks. Asking does not tell them apart, because every engine
ends an expired promise that it is asked for. So this creates such a promise, has itself told of the end, and asks for
nothing until it was told or has waited long enough. A wrong "no" costs a task for each wait. A wrong "yes" would need
somebody else to ask for this very promise in the meantime.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Final, Protocol

from resonate.error import ResonateError

from orchestrator import stored_names
from orchestrator.errors import EngineUnavailable, UnknownPromise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.engine.promises import Promises

logger = logging.getLogger(__name__)

#: How long the promise of each look lives, in seconds. A slow engine gets more looks, with more time to listen first.
LIVES: Final = (1.0, 4.0, 16.0)

#: Seconds after its deadline for which news of a promise is waited for: pg_cron may look at deadlines once a minute.
PATIENCE: Final = 75.0

_RESOLUTION: Final = 0.1
_FIRST_PAUSE: Final = 1.0
_SLOWEST: Final = 60.0


class _Handle(Protocol):
    def done(self) -> bool: ...


async def ends_plain_promises(
    promises: Promises,
    listen: Callable[[str], Awaitable[_Handle]],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """Return whether the engine was seen to end a plain promise at its deadline by itself.

    `listen` returns a handle that the engine settles; nothing else of this process may ask for the promise meanwhile.
    An engine that is unreachable is waited for.
    """
    lives, pause = list(LIVES), _FIRST_PAUSE

    while lives:
        try:
            if await _look(promises, listen, lives[0], clock, sleep):
                return True

            lives.pop(0)
        except (EngineUnavailable, UnknownPromise, ResonateError, ValueError, TypeError) as error:
            # The last two are what the SDK lets through when an engine answers with something that is no record.
            logger.debug("what the engine does at a deadline is looked at later: %s", type(error).__name__)
            await sleep(pause)
            pause = min(pause * 2, _SLOWEST)

    logger.info("the engine ends only promises with a task at their deadline: each wait gets one")

    return False


async def _look(
    promises: Promises,
    listen: Callable[[str], Awaitable[_Handle]],
    seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> bool:
    promise_id = f"countersign~look.{uuid.uuid4().hex}"
    tags = {f"resonate:{name}": promise_id for name in ("origin", "branch", "parent")}
    tags |= {"resonate:scope": "global", "resonate:external": "true", stored_names.TRANSIENT_TAG: "true"}
    await promises.create(promise_id, timeout_at=int((clock() + seconds) * 1000), param=None, tags=tags)
    handle = await listen(promise_id)

    if handle.done():
        # It took so long that to begin to listen may have been what ended it.
        return False

    end = clock() + seconds + PATIENCE

    while not handle.done() and clock() < end:
        await sleep(_RESOLUTION)

    was_told = handle.done()
    # What an engine has left pending ends here, and so does the handle.
    record = await promises.get(promise_id)

    return was_told and record.state == "rejected_timedout"
