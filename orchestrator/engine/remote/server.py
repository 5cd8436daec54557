"""Listening for tasks at a Resonate server.

The SDK's own listener lives under the five minutes that its HTTP client allows a request in all; when they are over it
ends for good, and its worker hears of no further task. This one has no such end, takes silence for a dead connection,
and connects again until it is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from resonate.connections.sse import SseFramer, resolve_target, unicast

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.config.secret import Secret

logger = logging.getLogger(__name__)

#: The server says nothing while there is no task, so silence may mean anything; after so many seconds we ask anew.
_SILENCE: Final = 60.0

_CONNECT: Final = 10.0
_FIRST_PAUSE: Final = 0.2
_SLOWEST: Final = 5.0


class ServerListener:
    """Where a worker hears of its tasks: an SDK `Source` over server-sent events.

    `silence` is in seconds. What the server sends while nobody listens it sends again: the task is still due.
    """

    def __init__(
        self, url: str, *, group: str, pid: str, token: Secret | None = None, silence: float = _SILENCE
    ) -> None:
        self._address = f"{url}/poll/{group}/{pid}"
        self._unicast = unicast(group, pid)
        self._token = token
        self._silence = silence
        self._receivers: list[Callable[[str], None]] = []
        self._listening: asyncio.Task[None] | None = None

    def unicast(self) -> str:
        """Return the address of this one process."""
        return self._unicast

    def resolve_target(self, target: str) -> str:
        """Return the address of a worker group."""
        return resolve_target(target)

    def recv(self, callback: Callable[[str], None]) -> None:
        """Hand every message to this function too; to be called before `start`."""
        self._receivers.append(callback)

    async def start(self) -> None:
        """Begin to listen. A server that is away is asked again until it is there."""
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Listen no more."""
        self._receivers.clear()

        if self._listening is not None:
            self._listening.cancel()

            with contextlib.suppress(asyncio.CancelledError):
                await self._listening

    async def _listen(self) -> None:
        headers = {"Accept": "text/event-stream"}

        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.text()}"

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=self._silence)
        pause = _FIRST_PAUSE

        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while True:
                try:
                    async with session.get(self._address, allow_redirects=False) as answer:
                        _require_ok(answer)
                        logger.info("listening for tasks")
                        pause = _FIRST_PAUSE
                        await self._hear(answer)
                except aiohttp.ServerTimeoutError:
                    continue
                except (aiohttp.ClientError, OSError) as error:
                    logger.warning("not listening for tasks, trying again: %s", _reason(error))

                # Spread, so that a server that comes back is not met by all workers at once.
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, _SLOWEST)

    async def _hear(self, answer: aiohttp.ClientResponse) -> None:
        framer = SseFramer()

        async for chunk in answer.content.iter_any():
            for message in framer.feed(chunk):
                for receive in tuple(self._receivers):
                    receive(message)


def _require_ok(answer: aiohttp.ClientResponse) -> None:
    """Return if this is the stream that was asked for; a redirection is none, for nobody named where it leads."""
    if answer.status != HTTPStatus.OK:
        raise aiohttp.ClientResponseError(answer.request_info, answer.history, status=answer.status)


def _reason(error: Exception) -> str:
    """Return why, without the request: its headers hold the token."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the server answers {error.status}"

    return type(error).__name__
