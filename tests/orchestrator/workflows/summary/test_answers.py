"""The model's answers on the worker's disk: asked once, and asked again only where nothing is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.chatting import chat_server, says

from orchestrator.config.secret import Secret
from orchestrator.durable.kept_files import KeptFiles
from orchestrator.llm.chat import LanguageModel
from orchestrator.workflows.summary.answers import Answers

if TYPE_CHECKING:
    from orchestrator.llm.chat import Message

SAID: list[Message] = [{"role": "user", "content": "A page."}]


async def test_the_same_question_is_asked_once_even_by_another_process(tmp_path: Path) -> None:
    async with chat_server([says("Keys open", reason="length")]) as server:
        model = LanguageModel(Secret(server.setting))

        for _ in range(3):
            reply = await Answers(KeptFiles(tmp_path)).ask(model, SAID, key="a.1:2")
            assert (reply.text, reply.cut) == ("Keys open", True)

        assert len(server.calls) == 1


async def test_another_step_another_page_and_another_model_are_other_questions(tmp_path: Path) -> None:
    async with chat_server() as server:
        model = LanguageModel(Secret(server.setting))
        other = LanguageModel(Secret(f"{server.setting}-instruct"))
        answers = Answers(KeptFiles(tmp_path))
        replies = [
            await answers.ask(model, SAID, key="a.1:2"),
            await answers.ask(model, SAID, key="a.1:5"),
            await answers.ask(model, [{"role": "user", "content": "Another page."}], key="a.1:2"),
            await answers.ask(other, SAID, key="a.1:2"),
        ]

    assert len({reply.text for reply in replies}) == 4
    assert len({call.headers["idempotency-key"] for call in server.calls}) == 4


@pytest.mark.parametrize("damaged", [b"", b"{", b"null", b'{"text": 7}', b"\xff"])
async def test_a_damaged_file_is_the_same_as_none(tmp_path: Path, damaged: bytes) -> None:
    async with chat_server() as server:
        model = LanguageModel(Secret(server.setting))
        await Answers(KeptFiles(tmp_path)).ask(model, SAID, key="a.1:2")
        (file,) = tmp_path.iterdir()
        file.write_bytes(damaged)

        assert (await Answers(KeptFiles(tmp_path)).ask(model, SAID, key="a.1:2")).text == "Summary 2."
        assert (await Answers(KeptFiles(tmp_path)).ask(model, SAID, key="a.1:2")).text == "Summary 2."


async def test_an_answer_counts_where_no_file_can_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kept").write_text("a file in the place of the folder")

    async with chat_server() as server:
        model = LanguageModel(Secret(server.setting))
        reply = await Answers(KeptFiles(tmp_path / "kept")).ask(model, SAID, key="a.1:2")

    assert reply.text == "Summary 1."
    assert "could not be kept" in caplog.text
