from __future__ import annotations

import pytest
from pydantic import BaseModel

from orchestrator import Context, group_step, workflow


class Nothing(BaseModel):
    """An input without fields."""


@group_step("printers")
async def stamp(_: object, text: str) -> str:
    return text


@workflow(group="office")
async def letter(ctx: Context, request: Nothing) -> str:
    """Have a letter stamped."""
    return await ctx.call(stamp, "x")


def test_a_step_is_called_by_its_functions_name_at_its_group() -> None:
    assert (stamp.name, stamp.group) == ("stamp", "printers")


@pytest.mark.parametrize("group", ["", "DB", "a/b", "a" * 65, "ä"])
def test_a_groups_name_is_part_of_an_address(group: str) -> None:
    with pytest.raises(ValueError, match="worker group"):
        group_step(group)

    with pytest.raises(ValueError, match="worker group"):
        workflow(group=group)
