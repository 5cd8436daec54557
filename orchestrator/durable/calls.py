"""What a function call of a workflow or a step has begun and must await, and the author's lines where it was begun.

A step that nobody awaits may have failed, and a coroutine that nobody awaits has not even begun: without a word, the
workflow would succeed although its question was never asked. Python warns of the second on stderr, where nobody looks.
"""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from orchestrator.errors import Misused
from orchestrator.text.crashes import at_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from types import CodeType, FrameType

#: A line of an author's code.
type Place = tuple[CodeType, int]

#: Where the calls in between are: they are ours, and not the author's.
_OURS: Final = str(Path(__file__).parents[1]) + "/"


def place_of_call() -> Place:
    """Return the innermost line outside of this package that led to here."""
    frame = cast("FrameType", inspect.currentframe())

    while frame.f_code.co_filename.startswith(_OURS) and frame.f_back is not None:
        frame = frame.f_back

    return frame.f_code, frame.f_lineno


def shown(place: Place) -> str:
    """Return the place for the end of a text."""
    code, line = place

    return at_line(code.co_filename, line, code.co_name)


class Calls:
    """What one function call has begun and must await."""

    def __init__(self) -> None:
        self._steps: Final[dict[object, tuple[str, str, Place]]] = {}
        self._coroutines: Final[list[tuple[Coroutine[Any, Any, Any], str, Place]]] = []
        self._sleeps: Final[dict[str, Place | None]] = {}

    @property
    def sleeps(self) -> Iterable[str]:
        """The ids of the sleeps, awaited or not."""
        return self._sleeps

    def step_begun(self, method: str, step: str) -> Callable[[], object]:
        """Note a step that `ctx.METHOD` has begun, and return what is to be called when it is awaited."""
        key = object()
        self._steps[key] = (method, step, place_of_call())

        return lambda: self._steps.pop(key, None)

    def sleep_begun(self, promise_id: str) -> Callable[[], object]:
        """Note a sleep that was begun, and return what is to be called when it is awaited."""
        self._sleeps[promise_id] = place_of_call()

        return lambda: self._sleeps.update({promise_id: None})

    def must_await[Result](self, coroutine: Coroutine[Any, Any, Result], call: str) -> Coroutine[Any, Any, Result]:
        """Return the coroutine, and note that this call, as an author writes it, has made it."""
        while self._coroutines and not _is_new(self._coroutines[0][0]):
            del self._coroutines[0]

        self._coroutines.append((coroutine, call, place_of_call()))

        return coroutine

    def forgotten(self) -> str | None:
        """Return what was begun first and not awaited, as a sentence with the author's line; None if all was."""
        for method, step, place in self._steps.values():
            return f"the step {step} was started and never awaited: write await ctx.{method}({step}, ...){shown(place)}"

        for coroutine, call, place in self._new():
            coroutine.close()

            return f"{call} was called and never awaited: write await {call}{shown(place)}"

        return None

    def check_awaited(self) -> None:
        """Return if everything that was begun and must be awaited was.

        Raises:
            Misused: something was not, so nobody knows whether it failed; names it and the line.
        """
        if (forgotten := self.forgotten()) is not None:
            raise Misused(forgotten)

    def check_slept(self) -> None:
        """Return if every sleep was awaited.

        Raises:
            Misused: one was not, so the code has gone on at once; names the line.
        """
        for place in self._sleeps.values():
            if place is not None:
                raise Misused(f"a sleep was started and never awaited: write await ctx.sleep(...){shown(place)}")

    def end(self) -> None:
        """Let go of the coroutines. Python does not warn of those that were not awaited."""
        for coroutine, *_ in self._new():
            coroutine.close()

        self._coroutines.clear()

    def _new(self) -> list[tuple[Coroutine[Any, Any, Any], str, Place]]:
        """Return those that have not begun, and that no task will begin either."""
        found = [each for each in self._coroutines if _is_new(each[0])]

        if not found:
            return []

        scheduled = [task.get_coro() for task in asyncio.all_tasks()]

        return [each for each in found if not any(each[0] is one for one in scheduled)]


def _is_new(coroutine: Coroutine[Any, Any, Any]) -> bool:
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
