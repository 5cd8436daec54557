"""Worker groups: who runs what. A step may belong to another group than the workflow that calls it.

A group owns something that others reach through it alone: a database, a device, a network. Its steps are called by name
over the engine, so neither side knows where the other runs, and a call waits for as long as the group is absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import ConfigurationError, Misdefined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Concatenate

    from resonate.context import Context as SDKContext

    from orchestrator.runs.definition import Workflow

DEFAULT_GROUP: Final = "default"

_GROUP: Final = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class GroupStep[**Parameters, Result]:
    """A step of one worker group. `ctx.call(step, ...)` has it done there and awaits what it returns.

    What it takes and returns travels through the engine as JSON, and rests there.
    """

    name: str
    group: str
    body: Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]]


def group_step[**Parameters, Result](
    group: str,
) -> Callable[[Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]]], GroupStep[Parameters, Result]]:
    """Make a step of this group of an async function `(ctx, ...)`; its name is the function's.

    It is done at least once per call: give what it does to the world a key of its own.

    Raises:
        Misdefined: a group's name that is not 1 to 64 of `a-z0-9_-`.
    """
    check_group(group)

    def define(
        body: Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]],
    ) -> GroupStep[Parameters, Result]:
        return GroupStep(name=getattr(body, "__name__", ""), group=group, body=body)

    return define


def check_group(group: str) -> None:
    """Return when this can be the name of a worker group.

    Raises:
        Misdefined: it is not 1 to 64 of `a-z0-9_-`. Upper case is none: a Resonate server lowers addresses.
    """
    if _GROUP.fullmatch(group) is None:
        raise Misdefined(f"a worker group's name is 1 to 64 of a-z 0-9 _ -, not {group!r}")


def steps_called(workflows: Iterable[Workflow[Any]]) -> tuple[GroupStep[..., Any], ...]:
    """Return the group steps that these workflows can call: those that their modules name.

    Raises:
        ConfigurationError: two of them share a name, by which they are called.
    """
    found: dict[str, GroupStep[..., Any]] = {}

    for one in workflows:
        for step in _named_by(one):
            if found.setdefault(step.name, step) is not step:
                raise ConfigurationError("COUNTERSIGN_WORKFLOWS", f"has two group steps of the name {step.name}")

    return tuple(found.values())


def _named_by(workflow: Workflow[Any]) -> tuple[GroupStep[..., Any], ...]:
    """Return the group steps that the workflow's own module defines or imports."""
    names = getattr(workflow.body, "__globals__", {})

    return tuple(value for value in names.values() if isinstance(value, GroupStep))


def groups_of(workflows: Iterable[Workflow[Any]]) -> tuple[str, ...]:
    """Return the worker groups that these workflows need, in order of their names."""
    chosen = tuple(workflows)

    return tuple(sorted({one.group for one in chosen} | {step.group for step in steps_called(chosen)}))
