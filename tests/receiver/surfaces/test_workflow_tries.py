"""What the workflow API and the page of a run say of failed tries, and of a run that no longer fits its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.edge import Edge, Question, edge, get, put
from support.plant import pause

from orchestrator import Context, Outcome, Workflow, open_callback, step, workflow
from orchestrator.callbacks.settlement import resolve

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


async def test_a_run_that_cannot_go_on_says_why_until_the_code_fits_again(tmp_path: Path) -> None:
    async def charge(_: Context) -> str:
        return "charged"

    async def validate(_: Context) -> str:
        return "valid"

    def ordering(first: Callable[[Context], Any]) -> Workflow[Question]:
        @workflow(name="ordering")
        async def body(ctx: Context, _request: Question) -> list[object]:
            return [await ctx.run(first), (await (await open_callback(ctx, "bank"))).value]

        return body

    path, engine = "/workflows/ordering/a", f"sqlite:///{tmp_path}/engine.db"
    told = 'step 1 is recorded as "charge", the code now calls "validate"'

    async with edge(tmp_path, engine, workflows=[ordering(charge)]) as here:
        await put(here, path, body={})
        await until(here, path, lambda document: len(document["steps"]) == 2)

    async with edge(tmp_path, engine, workflows=[ordering(validate)]) as here:
        outcome = Outcome(kind="succeeded", callback="bank", by="callback", body="7")
        await resolve(here.engine.promises, "ordering.a:2", ikey="a test", outcome=outcome)
        held = await until(here, path, lambda document: "held_up" in document)
        page = await get(here, path, Accept="text/html")

    assert (held["state"], held["held_up"]["error"]) == ("running", told)
    assert "It cannot go on: step 1 is recorded as" in page.text

    async with edge(tmp_path, engine, workflows=[ordering(charge)]) as here:
        ended = await until(here, path, lambda document: document["state"] != "running")

    assert ended["result"] == ["charged", 7]
    assert "held_up" not in ended
