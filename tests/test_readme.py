"""What the README shows is so."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from approving import ADA, BOB, code_in, desk, link_in
from plant import plant

from orchestrator.definition import load_workflows

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture
def refunds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The README's own workflow as a module."""
    (block,) = re.findall(r"```python\n(from datetime.*?)```", README, re.DOTALL)
    (tmp_path / "refunds.py").write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "refunds"
    del sys.modules["refunds"]


async def test_the_workflow_of_your_own_works_as_printed(
    refunds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (refund,) = load_workflows([refunds]).values()

    async with plant(tmp_path, "memory://", refund) as works:
        await works.start("a", order="42", cents=100)
        await works.opened("refund.a:1")
        await works.answer("refund.a:1", name="bank")

        assert await works.ended("a") == ("succeeded", {"order": "42", "transfer": "succeeded"})
        assert "POST to the bank" in capsys.readouterr().out


@pytest.mark.parametrize("name", re.findall(r"^\$ scripts/(\w+)", README, re.MULTILINE))
def test_every_script_that_it_names_is_there(name: str) -> None:
    assert (Path(__file__).parents[1] / "scripts" / name).is_file()


async def test_the_question_to_people_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(from orchestrator import Context, Question.*?)```", README, re.DOTALL)
    (tmp_path / "releases.py").write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    (release,) = load_workflows(["releases"]).values()
    monkeypatch.delitem(sys.modules, "releases")

    async with desk(tmp_path, workflows=[release]) as here:
        await here.start(release, "1", version="1.0", owners=[ADA, BOB])

        for person in (ADA, BOB):
            letter = await here.letter(person)
            await here.post(link_in(letter.text), code=code_in(letter.text))

        assert (await here.ended(name="release"))["result"] == "approve"
