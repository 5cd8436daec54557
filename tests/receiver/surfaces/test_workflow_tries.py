"""What the workflow API and the page of a run say of failed tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.edge import Edge, Question, edge, get, put
from support.plant import pause

from orchestrator import Context, step, workflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

SECRET = "s3cretbody"


async def until(here: Edge, path: str, found: Callable[[Any], bool]) -> Any:
    while not found(document := (await get(here, f"{path}?steps=1")).json()):
        await pause(0.02)

    return document


async def test_failed_tries_are_shown_without_the_text_of_their_errors(tmp_path: Path) -> None:
    @step(tries=2)
    async def charge(ctx: Context) -> None:
        raise ValueError(SECRET)

    @workflow(name="charging")
    async def charging(ctx: Context, _request: Question) -> None:
        await ctx.run(charge)

    async with edge(tmp_path, workflows=[charging]) as here:
        await put(here, "/workflows/charging/a", body={})
        ended = await until(here, "/workflows/charging/a", lambda document: document["state"] == "failed")
        page = await get(here, "/workflows/charging/a", Accept="text/html")

    shown = ended["steps"][0]

    assert [(each["number"], each["next_at"] is None) for each in shown["tries"]] == [(1, False), (2, True)]
    assert all("ValueError at test_workflow_tries.py:" in each["error"] for each in shown["tries"])
    assert "ValueError at test_workflow_tries.py:" in page.text
    assert SECRET not in f"{ended}{page.text}"
