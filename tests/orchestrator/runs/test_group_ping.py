"""Whether a group has a worker, on every engine. The order tests cover a group whose worker starts later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.plant import PATIENCE, plant

from orchestrator.runs.group_ping import is_served
from orchestrator.stored_names import TRANSIENT_TAG

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_group_with_a_worker_answers(tmp_path: Path, engine_url: str) -> None:
    async with plant(tmp_path, engine_url) as works:
        assert await is_served(works.engine, "default", seconds=PATIENCE)


async def test_a_group_without_a_worker_does_not_answer_and_the_question_is_withdrawn(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", working=False) as works:
        assert not await is_served(works.engine, "default", seconds=0.1, new_nonce=lambda: "7")

        record = await works.engine.promises.get("countersign~ping~7")

    assert record.state == "rejected_canceled"
    assert record.tags[TRANSIENT_TAG] == "true"
