"""Worker groups: who runs what. A step may belong to another group than the workflow that calls it.

A group owns something that others reach through it alone: a database, a device, a network. Its steps are called by name
over the engine, so neither side knows where the other runs, and a call waits for as long as the group is absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.config.groups import is_group_name
from orchestrator.errors import Misdefined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Concatenate

    from resonate.context import Context as SDKContext


@dataclass(frozen=True, kw_only=True)
class GroupStep[**Parameters, Result]:
    """A step of one worker group. `ctx.call(step, ...)` has it done there and awaits what it returns.

    What it takes and returns travels through the engine as JSON, and rests there. A worker that does the step makes one
    of each type in `needs`, for `ctx.get_dependency`.
    """

    name: str
    group: str
    body: Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]]
    needs: tuple[type, ...] = ()


def group_step[**Parameters, Result](
    group: str, *, needs: tuple[type, ...] = ()
) -> Callable[[Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]]], GroupStep[Parameters, Result]]:
    """Make a step of this group of an async function `(ctx, ...)`; its name is the function's.

    `needs` are types that can be made without arguments.

    It is done at least once per call: give what it does to the world a key of its own.

    Raises:
        Misdefined: a group's name that is not 1 to 64 of `a-z0-9_-`.
    """
    check_group(group)

    def define(
        body: Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]],
    ) -> GroupStep[Parameters, Result]:
        return GroupStep(name=getattr(body, "__name__", ""), group=group, body=body, needs=needs)

    return define


def check_group(group: str) -> None:
    """Return when this can be the name of a worker group.

    Raises:
        Misdefined: it is not 1 to 64 of `a-z0-9_-`.
    """
    if not is_group_name(group):
        raise Misdefined(f"a worker group's name is 1 to 64 of a-z 0-9 _ -, not {group!r}")
