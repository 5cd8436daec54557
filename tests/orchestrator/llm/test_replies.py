"""Reading what a chat API answers: whole texts only, and only the text."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.llm.replies import Reply, read_reply


def whole(content: Any, **choice: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop", **choice}]}).encode()


def events(*choices: Any, end: str = "data: [DONE]\n\n") -> bytes:
    pieces = [json.dumps({"choices": [] if choice is None else [choice]}) for choice in choices]

    return ("".join(f"data: {piece}\n\n" for piece in pieces) + end).encode()


def delta(text: str, **more: Any) -> dict[str, Any]:
    return {"delta": {"content": text}, **more}


@pytest.mark.parametrize(
    "body",
    [
        whole("Keys open doors."),
        whole("  Keys open doors.\n"),
        whole([{"type": "text", "text": "Keys open"}, {"type": "image"}, {"type": "text", "text": " doors."}]),
        whole("<think>\nThe user wants a summary.\n</think>\n\nKeys open doors."),
        events(delta("Keys open"), delta(" doors.")),
        events(delta("Keys open"), delta(" doors.", finish_reason="stop"), end=""),
        events(delta("Keys open doors."), {"delta": {}, "finish_reason": "stop"}, None),
        events({"delta": {"reasoning_content": "hm", "content": None}}, delta("Keys open doors.")),
        b": a comment\r\n\r\nevent: message\r\n" + events(delta("Keys open doors.")).replace(b"\n", b"\r\n"),
        b'{"choices":[{"message":{"content":"Keys open doors."},"finish_reason":null}],"usage":{"total_tokens":1}}',
    ],
)
def test_the_text_is_read_from_each_form(body: bytes) -> None:
    assert read_reply(body) == Reply(text="Keys open doors.")


def test_a_text_that_was_stopped_at_its_limit_says_so() -> None:
    assert read_reply(whole("Keys open", finish_reason="length")) == Reply(text="Keys open", cut=True)
    assert read_reply(events(delta("Keys", finish_reason="length"))) == Reply(text="Keys", cut=True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"not json",
        b'{"choices": [{"message": {"content": "Keys',
        b'{"choices": []}',
        b'{"choices": [7]}',
        b'{"error": {"message": "overloaded"}}',
        whole(""),
        whole(" \n"),
        whole(None, tool_calls=[{"function": {"name": "shell"}}]),
        whole("<think>The user wants"),
        whole("<think>hm</think>"),
        events(delta("Keys"), end=""),
        events(delta("Keys"), end='data: {"error": {"message": "overloaded"}}\n\n'),
        events(delta("Keys"), end='data: {"choi'),
        b"data: [DONE]\n\n",
    ],
)
def test_half_a_text_and_no_text_are_no_answer(body: bytes) -> None:
    with pytest.raises(StepUnavailable):
        read_reply(body)


def test_a_text_that_was_withheld_is_refused() -> None:
    with pytest.raises(StepRefused):
        read_reply(whole("", finish_reason="content_filter"))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: b"data: " + text.encode(errors="ignore")))
def test_any_body_is_an_answer_or_one_of_our_errors(body: bytes) -> None:
    with contextlib.suppress(StepRefused, StepUnavailable):
        assert read_reply(body).text
