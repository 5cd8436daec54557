"""Worker groups: who runs what. A step may belong to another group than the workflow that calls it.

A group owns something that others can reach only through it: a database, a device, a network. Its steps are called by
name over the engine, so neither side knows where the other runs, and a call waits until a worker of the group runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.config.groups import is_group_name
from orchestrator.durable.policy import TRIES, Policy, policy_of
from orchestrator.durable.steps import Step, check_body, name_of
from orchestrator.errors import Misdefined, Misused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta
    from typing import Concatenate


@dataclass(frozen=True, kw_only=True)
class GroupStep[**Parameters, Result]:
    """A step of one worker group. `await ctx.call(step, ...)` runs it there and returns its result.

    Its arguments and its result travel through the engine as JSON and are stored there.
    """

    name: str
    group: str
    body: Callable[Concatenate[Any, Parameters], Awaitable[Result]]
    policy: Policy = field(default_factory=Policy)

    @property
    def instead(self) -> str:
        """What is to be done instead of passing this to `ctx.run`."""
        return f"belongs to the worker group {self.group}: write await ctx.call({self.name}, ...)"

    def check_arguments(self, *args: Any, **kwargs: Any) -> None:
        """Return if the step can be called with these arguments after `ctx`.

        Raises:
            Misused: it cannot; names the step and the parameter.
        """
        self._step.check_arguments(*args, **kwargs)

    @cached_property
    def _step(self) -> Step[Parameters, Result]:
        """This as a plain step, which knows its signature."""
        return Step(body=self.body, name=self.name)


def group_step[**Parameters, Result](
    group: str,
    *,
    tries: int = TRIES,
    never_retry: tuple[type[BaseException], ...] = (),
    timeout: timedelta | float | None = None,
) -> Callable[[Callable[Concatenate[Any, Parameters], Awaitable[Result]]], GroupStep[Parameters, Result]]:
    """Make an async function `(ctx, ...)` a step of this group, under the function's name.

    `tries`, `never_retry` and `timeout` are as for `step`.

    The step runs at least once per call, so give each of its effects an idempotency key.

    Raises:
        Misdefined: the group's name is not 1 to 64 of `a-z0-9_-`, the function cannot be a step, or a value is out of
            range.
    """
    check_group(group)
    policy = policy_of("a group step", tries=tries, never_retry=never_retry, timeout=timeout)

    def define(
        body: Callable[Concatenate[Any, Parameters], Awaitable[Result]],
    ) -> GroupStep[Parameters, Result]:
        check_body(body, Misdefined)

        return GroupStep(name=name_of(body), group=group, body=body, policy=policy)

    return define


def check_group_step[**Parameters, Result](given: GroupStep[Parameters, Result]) -> GroupStep[Parameters, Result]:
    """Return what a workflow passed to `ctx.call`.

    Raises:
        Misused: it is no group step.
    """
    if not isinstance(given, GroupStep):
        raise Misused(f"{name_of(given)} belongs to no worker group: write await ctx.run({name_of(given)}, ...)")

    return given


def check_group(group: str) -> None:
    """Return if this can be the name of a worker group.

    Raises:
        Misdefined: it is not 1 to 64 of `a-z0-9_-`.
    """
    if not isinstance(group, str):
        raise Misdefined('a worker group has a name: write @group_step("db") over a step')

    if not is_group_name(group):
        raise Misdefined(f"a worker group's name is 1 to 64 of a-z 0-9 _ -, not {group!r}")
