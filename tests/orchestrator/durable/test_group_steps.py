from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Context, group_step, workflow
from orchestrator.durable.group_steps import GroupStep
from orchestrator.errors import ConfigurationError
from orchestrator.runs.definition import Workflow
from orchestrator.runs.loading import groups_of, steps_called


class Nothing(BaseModel):
    """An input without fields."""


@group_step("printers")
async def stamp(_: object, text: str) -> str:
    return text


@workflow(group="office")
async def letter(ctx: Context, request: Nothing) -> str:
    """Have a letter stamped."""
    return await ctx.call(stamp, "x")


def elsewhere(step: GroupStep[..., Any]) -> Workflow[Any]:
    """Return a workflow of another module, which names that step."""
    module = ModuleType("elsewhere")
    module.__dict__.update(stamp=step, Context=Context, Nothing=Nothing)
    exec("async def other(ctx: Context, request: Nothing): ...", module.__dict__)  # noqa: S102
    return workflow()(module.__dict__["other"])


def test_a_step_is_called_by_its_functions_name_at_its_group() -> None:
    assert (stamp.name, stamp.group) == ("stamp", "printers")


def test_the_groups_of_workflows_are_their_own_and_those_of_the_steps_their_modules_name() -> None:
    assert groups_of([letter]) == ("office", "printers")
    assert steps_called([letter, letter]) == (stamp,)


def test_two_steps_of_one_name_are_refused() -> None:
    @group_step("printers")
    async def other(_: object) -> None: ...

    impostor = GroupStep(name="stamp", group="forgers", body=other.body)

    with pytest.raises(ConfigurationError, match="two group steps of the name stamp"):
        steps_called([letter, elsewhere(impostor)])


@pytest.mark.parametrize("group", ["", "DB", "a/b", "a" * 65, "ä"])
def test_a_groups_name_is_part_of_an_address(group: str) -> None:
    with pytest.raises(ValueError, match="worker group"):
        group_step(group)

    with pytest.raises(ValueError, match="worker group"):
        workflow(group=group)
