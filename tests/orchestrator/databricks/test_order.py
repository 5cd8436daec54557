"""What `run_job` refuses at once: arguments that cannot be right."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Context, Misused, run_job, workflow
from orchestrator.testing import Trial


class Which(BaseModel):
    """Which of the arguments is wrong."""

    how: str


@workflow()
async def wrongly(ctx: Context, request: Which) -> Any:
    """Call `run_job` with arguments that cannot be right."""
    try:
        await run_job(ctx, **WRONG[request.how])
    except Misused as error:
        return str(error)


WRONG: dict[str, dict[str, Any]] = {
    "name": {"name": "load everything", "job_id": 1},
    "long name": {"name": "n" * 61, "job_id": 1},
    "job_id": {"name": "load", "job_id": "1"},
    "parameters": {"name": "load", "job_id": 1, "parameters": {"rows": 3}},
    "callback_url": {"name": "load", "job_id": 1, "parameters": {"callback_url": "https://elsewhere.example"}},
    "deadline": {"name": "load", "job_id": 1, "deadline": timedelta(milliseconds=1)},
    "watch_interval": {"name": "load", "job_id": 1, "watch_interval": 0},
    "attempts": {"name": "load", "job_id": 1, "attempts": 0},
}


@pytest.mark.parametrize("argument", WRONG)
async def test_an_argument_that_cannot_be_right_is_named_and_nothing_is_recorded(argument: str) -> None:
    async with Trial(wrongly) as trial:
        run = await trial.start(wrongly, Which(how=argument))

        assert argument.rpartition(" ")[2] in await run.result()
        assert await run.steps() == []
