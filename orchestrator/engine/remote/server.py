"""Listening for tasks from a Resonate server.

The SDK's own listener is limited to the five minutes that its HTTP client allows for a whole request. Then it ends
permanently, and its worker gets no further tasks. This listener has no such limit. It treats silence as a dead
connection, and reconnects until it is stopped.
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

#: The server sends nothing while there is no task, so silence may also mean a dead connection. After so many seconds of
#: silence the listener reconnects.
_SILENCE: Final = 60.0

_CONNECT: Final = 10.0
_FIRST_PAUSE: Final = 0.2
_SLOWEST: Final = 5.0


class ServerListener:
    """How a worker gets its tasks: an SDK `Source` over server-sent events.

    `silence` is in seconds. The server repeats what it sent while nobody was listening, because the task is still due.
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
        """Return the address of this process."""
        return self._unicast

    def resolve_target(self, target: str) -> str:
        """Return the address of a worker group."""
        return resolve_target(target)

    def recv(self, callback: Callable[[str], None]) -> None:
        """Pass every message to this callback too. Call it before `start`."""
        self._receivers.append(callback)

    async def start(self) -> None:
        """Start listening. An unreachable server is retried until it is reachable."""
        self._listening = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening."""
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
                    async with session.get(self._address, allow_redirects=False) as response:
                        _require_ok(response)
                        logger.info("listening for tasks")
                        pause = _FIRST_PAUSE
                        await self._receive(response)
                except aiohttp.ServerTimeoutError:
                    continue
                except (aiohttp.ClientError, OSError) as error:
                    logger.warning("not listening for tasks, trying again: %s", _reason(error))

                # Jittered, so that a server that comes back does not get all workers at the same moment.
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
                pause = min(pause * 2, _SLOWEST)

    async def _receive(self, response: aiohttp.ClientResponse) -> None:
        framer = SseFramer()

        async for chunk in response.content.iter_any():
            for message in framer.feed(chunk):
                for receive in tuple(self._receivers):
                    receive(message)


def _require_ok(response: aiohttp.ClientResponse) -> None:
    """Refuse anything but the requested stream. A redirection is refused too: its target is not in the settings."""
    if response.status != HTTPStatus.OK:
        raise aiohttp.ClientResponseError(response.request_info, response.history, status=response.status)


def _reason(error: Exception) -> str:
    """Return the reason for an error without the request, whose headers contain the token."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the server answers {error.status}"

    return type(error).__name__
