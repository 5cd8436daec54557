"""Worker groups: who runs what. A step may belong to another group than the workflow that calls it.

A group owns something that others can reach only through it: a database, a device, a network. Its steps are called by
name over the engine, so neither side knows where the other runs, and a call waits until a worker of the group runs.
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
    """A step of one worker group. `await ctx.call(step, ...)` runs it there and returns its result.

    Its arguments and its result travel through the engine as JSON and are stored there.
    """

    name: str
    group: str
    body: Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]]


def group_step[**Parameters, Result](
    group: str,
) -> Callable[[Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]]], GroupStep[Parameters, Result]]:
    """Make an async function `(ctx, ...)` a step of this group, under the function's name.

    The step runs at least once per call, so give each of its effects an idempotency key.

    Raises:
        Misdefined: the group's name is not 1 to 64 of `a-z0-9_-`.
    """
    check_group(group)

    def define(
        body: Callable[Concatenate[SDKContext, Parameters], Awaitable[Result]],
    ) -> GroupStep[Parameters, Result]:
        return GroupStep(name=getattr(body, "__name__", ""), group=group, body=body)

    return define


def check_group(group: str) -> None:
    """Return if this can be the name of a worker group.

    Raises:
        Misdefined: it is not 1 to 64 of `a-z0-9_-`.
    """
    if not is_group_name(group):
        raise Misdefined(f"a worker group's name is 1 to 64 of a-z 0-9 _ -, not {group!r}")
