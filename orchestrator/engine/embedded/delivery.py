"""Outgoing messages: to every receiver of this process, never before their cause is on disk, and at a limited rate.

A worker that cannot work on a task (its payload does not decrypt, its function is unknown) releases it, and the state
machine announces a released task at once. Without a limit the two would loop. So a task that has been released several
times in a short while is announced later, and later each time. This module decides only when a message goes out; the
messages themselves come from the state machine.
"""

from __future__ import annotations

import asyncio
import heapq
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from resonate.connections.local import OutgoingMessage

    from orchestrator.engine.embedded.memory.state import IndexedState

#: For how many milliseconds the second release in a row delays the announcement.
FIRST_PAUSE: Final = 100
#: The longest delay: a little less than the 30 s after which the state machine repeats an announcement by itself.
LONGEST_PAUSE: Final = 29_000
#: How many milliseconds after its last release the next release of a task counts as the first again.
FORGIVEN_AFTER: Final = 60_000

_encoder: Final = msgspec.json.Encoder()


class MessageDelivery:
    """Gives messages to receivers. Without a receiver a message is lost, but the tasks it announced are remembered."""

    def __init__(self) -> None:
        #: Each with the context variables it runs with. The code of a workflow starts from them, so they must not be
        #: those of whoever caused the message, which may be another workflow in the middle of a step.
        self._receivers: list[tuple[Callable[[str], None], Context]] = []
        #: Tasks whose announcement no receiver got.
        self._missed: dict[str, None] = {}
        self._releases: dict[str, tuple[int, int]] = {}
        self._held: dict[str, OutgoingMessage] = {}
        self._times: list[tuple[int, str]] = []

    def add_receiver(self, receiver: Callable[[str], None]) -> None:
        """Give every later message to this receiver too, with the context variables that are set now."""
        self._receivers.append((receiver, copy_context()))

    def remove_receivers(self) -> None:
        """Deliver no more messages."""
        self._receivers.clear()

    @property
    def can_send_missed(self) -> bool:
        """Whether announcements were missed and there is a receiver for them now."""
        return bool(self._missed and self._receivers)

    def take_missed(self) -> list[str]:
        """Return the tasks whose announcement was missed, and forget them; none while there is no receiver."""
        if not self.can_send_missed:
            return []

        missed, self._missed = list(self._missed), {}
        return missed

    def restart(self, task_ids: list[str]) -> None:
        """Announce these tasks next, in place of all that were missed before."""
        self._missed = dict.fromkeys(task_ids)

    def released(self, task_id: str, now: int) -> None:
        """Record that a worker gave a task back."""
        while self._releases and now - next(iter(self._releases.values()))[1] > FORGIVEN_AFTER:
            del self._releases[next(iter(self._releases))]

        count, _ = self._releases.pop(task_id, (0, now))
        self._releases[task_id] = (count + 1, now)

    def progressed(self, task_id: str) -> None:
        """Record that a worker made progress on a task: its next release counts as the first."""
        self._releases.pop(task_id, None)

    def send(self, messages: list[OutgoingMessage], state: IndexedState, now: int) -> None:
        """Deliver the messages in the order given, except announcements of tasks that must wait.

        A task whose promise is a running timer is not announced: there is nothing to run, and workers drop it.
        """
        for message in messages:
            task_id = _announced(message)

            if task_id is None or self._may_go(task_id, message, state, now):
                self._deliver(message)

    def send_due(self, now: int) -> None:
        """Deliver the held-back announcements that are due."""
        while self._times and self._times[0][0] <= now:
            _, task_id = heapq.heappop(self._times)
            message = self._held.pop(task_id, None)

            if message is not None:
                self._deliver(message)

    def next_due(self) -> int | None:
        """Return when `send_due` has something to deliver, in milliseconds; None if nothing is held back."""
        return self._times[0][0] if self._times else None

    def _may_go(self, task_id: str, message: OutgoingMessage, state: IndexedState, now: int) -> bool:
        promise = state.promises.get(task_id)

        if promise is not None and promise.state == "pending" and promise.tags.get("resonate:timer") == "true":
            return False

        if task_id in self._held:
            self._held[task_id] = message
            return False

        count, last = self._releases.get(task_id, (0, 0))
        at = last + min(FIRST_PAUSE << min(count - 2, 16), LONGEST_PAUSE) if count > 1 else 0

        if at <= now:
            return True

        self._held[task_id] = message
        heapq.heappush(self._times, (at, task_id))
        return False

    def _deliver(self, message: OutgoingMessage) -> None:
        if not self._receivers:
            if (task_id := _announced(message)) is not None:
                self._missed[task_id] = None

            return

        text = _encoder.encode(message.message).decode()
        loop = asyncio.get_running_loop()

        for receiver, context in self._receivers:
            loop.call_soon(receiver, text, context=context)


def _announced(message: OutgoingMessage) -> str | None:
    """Return the task that a message announces, None for any other message."""
    if message.message["kind"] != "execute":
        return None

    task_id: str = message.message["data"]["task"]["id"]
    return task_id
