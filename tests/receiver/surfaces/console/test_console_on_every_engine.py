"""A visit to the console on every engine: overview, lists, a run, a wait, an answer by hand, and out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.approving import ADA, BOB, desk, seen
from support.signing_in import signed_in

if TYPE_CHECKING:
    from pathlib import Path

RUN = "/workflows/consult/eu:1"
WAIT = f"{RUN}/steps/1"


async def test_an_operator_looks_around_answers_by_hand_and_signs_out(tmp_path: Path, engine_url: str) -> None:
    async with desk(tmp_path, engine_url) as here:
        await here.ask("eu:1", people=[ADA], title="For Ada")
        await here.ask("2", people=[BOB], title="For Bob")
        window = await signed_in(here.app)
        copied = dict(window.client.cookies)

        overview = seen(await window.get())
        assert "For Ada" in overview
        assert "For Bob" in overview
        assert "Nothing has failed." in overview
        running = seen(await window.get("/workflows?state=running"))
        assert running.index("consult 2") < running.index("consult eu:1")
        adas = seen(await window.get(f"/waits?person={ADA}"))
        assert f"For Ada consult eu:1 {ADA}" in adas
        assert "For Bob" not in adas

        assert f"Waiting for {ADA} since today at" in seen(await window.get(RUN))
        assert "All tests are green." in seen(await window.get(WAIT))
        reminded = await window.send(await window.get(f"{WAIT}/remind"), "Send the reminder", reason="It is urgent.")
        assert reminded.headers["location"].endswith("?done=reminded")
        assert await here.link(ADA, number=1) == await here.link(ADA)

        given = {"outcome": "reject", "body": "Not before spring.", "reason": "Ada is on holiday."}
        answered = await window.send(await window.get(f"{WAIT}/answer"), "Record this answer", **given)
        page = seen(await window.client.get(answered.headers["location"]))
        assert "Your answer is recorded." in page
        assert "Rejected by the operator tests, by hand" in page
        assert (await here.ended("eu:1"))["result"]["decision"] == "reject"
        assert "Finished after" in seen(await window.get(RUN))
        assert "Nothing waits." in seen(await window.get(f"/waits?person={ADA}"))

        await window.sign_out()
        assert "API key" in seen(await window.get())
        window.client.cookies = copied
        assert "API key" in seen(await window.get())
        assert await here.state("consult.2:1") == "pending"
