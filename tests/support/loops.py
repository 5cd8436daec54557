"""What tests put into an event loop."""

from __future__ import annotations

import asyncio
from typing import Any


class NotingFactory:
    """A task factory that notes what tasks are made of."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        self.made.append(work)

        return asyncio.Task(work, loop=loop, **options)
