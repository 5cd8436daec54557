"""Replies of a Resonate server without what no worker needs.

A server repeats all promises of a workflow in its reply to each step, although the worker got them with the task. To
open and decode them again would make the cost of a workflow grow with the square of its steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from orchestrator.engine.remote.requests import beginning

if TYPE_CHECKING:
    from resonate_base.connections import Network

#: A request under a lease.
_FENCED: Final = beginning("task.fence")


class _Data(msgspec.Struct):
    action: msgspec.Raw


class _Reply(msgspec.Struct):
    """What is needed of a reply to such a request. The rest is skipped when it is read."""

    kind: msgspec.Raw
    head: msgspec.Raw
    data: _Data


class ShortReplies:
    """A network to a server that leaves out of the replies to fenced requests the promises that these preload.

    Other replies pass as they are: a worker that takes a task needs what is preloaded there.
    """

    def __init__(self, inner: Network) -> None:
        self._inner = inner

    async def start(self) -> None:
        """Start the inner network."""
        await self._inner.start()

    async def stop(self) -> None:
        """Stop the inner network."""
        await self._inner.stop()

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        """Return the server's reply, shortened. Raises what the inner network raises."""
        reply = await self._inner.send(req, headers)

        return _shortened(reply) if req.startswith(_FENCED) else reply


def _shortened(reply: str) -> str:
    try:
        return msgspec.json.encode(msgspec.json.decode(reply, type=_Reply)).decode()
    except msgspec.DecodeError:
        # An error, or nothing that the SDK will accept.
        return reply
