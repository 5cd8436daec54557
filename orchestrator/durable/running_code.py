"""Whose code runs here: which run of a workflow, and which function call of it, the workflow's own or a step's."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from orchestrator.errors import Misused

if TYPE_CHECKING:
    from orchestrator.durable.effects import WatchfulEffects
    from orchestrator.durable.under_way import UnderWay

_running: ContextVar[WatchfulEffects | None] = ContextVar("countersign_running", default=None)
_calling: ContextVar[UnderWay | None] = ContextVar("countersign_calling", default=None)


def run_begins(effects: WatchfulEffects) -> None:
    """Note that the code of a run runs here from now on, which creates and settles its promises with these effects."""
    _running.set(effects)


def call_begins(under_way: UnderWay) -> None:
    """Note that the code of a function call runs here from now on, which has this under way."""
    _calling.set(under_way)


def calling() -> UnderWay | None:
    """Return what the function call whose code runs here has under way, None if no call's code does."""
    return _calling.get()


def is_of_another_call(under_way: UnderWay) -> bool:
    """Return whether the code that runs here belongs to another function call than the one that has this under way."""
    return _calling.get() not in {None, under_way}


def check_is_of(effects: WatchfulEffects, under_way: UnderWay, *, run_id: str) -> None:
    """Return if the code that runs here, if it is a workflow's or a step's, is of this run and this function call.

    Raises:
        Misused: it is of another; says which ctx to use instead.
    """
    if _running.get() not in {None, effects}:
        raise Misused(f"this is the ctx of another run, {run_id}: use the ctx that the workflow itself was given")

    if is_of_another_call(under_way):
        another = "another step, or of the workflow around it"
        raise Misused(f"this is the ctx of {another}: use the ctx that the function itself was given")
