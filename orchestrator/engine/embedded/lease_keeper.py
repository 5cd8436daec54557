"""The leases of tasks that run in this process: a step may take longer than its lease without being repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.engine.embedded.connection import EmbeddedConnection


class LeaseKeeper:
    """A `resonate.heartbeat.Heartbeat` that sends nothing: the engine runs in the same process and reads the leases.

    The tasks are in the connection's `leases`.
    """

    def __init__(self, connection: EmbeddedConnection) -> None:
        self.active_tasks = connection.leases

    def start(self, task_id: str, task_version: int) -> None:
        """Keep the lease of a task from now on."""
        self.active_tasks[task_id] = task_version

    def stop(self, task_id: str) -> None:
        """Let the lease of a task lapse."""
        self.active_tasks.pop(task_id, None)

    def shutdown(self) -> None:
        """Let all leases lapse."""
        self.active_tasks.clear()
