"""What a chat API answers, read as one text: a JSON object, or a stream of events with the text in pieces.

Servers differ in whether they stream when asked to, and in the content type they say, so the body itself decides. Only
the text counts. What a model thinks before it answers, and tools that it asks for, are left out: it has no tools.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.text.strict_json import loads_strict

if TYPE_CHECKING:
    from collections.abc import Iterator

_DONE: Final = b"[DONE]"

#: A reasoning model's thoughts, where a server leaves them in the text.
_THOUGHTS: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_UNFINISHED_THOUGHTS: Final = re.compile(r"\A\s*<think>")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model wrote, never empty. `cut` says that it was stopped at its limit of length."""

    text: str
    cut: bool = False


def read_reply(body: bytes) -> Reply:
    """Return what the model wrote, from the body of a complete response.

    Raises:
        StepUnavailable: the body is not what such an API answers, the text is incomplete or empty, or the server
            reports an error in it. Another try may get more.
        StepRefused: the server withheld the text because of its contents.
    """
    pieces = list(_events(body)) if _is_stream(body) else [_parsed(body)]
    text = ""
    reason: str | None = None

    for piece in pieces:
        choice = _choice(piece)
        text += _text_of(choice)
        reason = _reason_of(choice) or reason

    return _finished(text, reason, complete=reason is not None or _is_done(body) or not _is_stream(body))


def _finished(text: str, reason: str | None, *, complete: bool) -> Reply:
    if not complete:
        raise StepUnavailable("the model's answer broke off")

    if reason == "content_filter":
        raise StepRefused("the model's server withheld the answer because of its contents")

    spoken = _THOUGHTS.sub("", text).strip()

    if not spoken or _UNFINISHED_THOUGHTS.match(spoken):
        raise StepUnavailable("the model answered without a text")

    return Reply(text=spoken, cut=reason == "length")


def _is_stream(body: bytes) -> bool:
    return body.lstrip().startswith((b"data:", b"event:", b"id:", b"retry:", b":"))


def _is_done(body: bytes) -> bool:
    return any(line.removeprefix(b"data:").strip() == _DONE for line in body.splitlines() if line.startswith(b"data:"))


def _events(body: bytes) -> Iterator[object]:
    """Yield the parsed data of each event. Events of these APIs have their data in one line."""
    for line in body.splitlines():
        data = line.removeprefix(b"data:").strip()

        if line.startswith(b"data:") and data and data != _DONE:
            yield _parsed(data)


def _parsed(data: bytes) -> object:
    try:
        return loads_strict(data)
    except ValueError:
        raise StepUnavailable("the model's server answered with something that is not JSON") from None


def _choice(piece: object) -> dict[str, object]:
    """Return the first choice of a response or an event. The last event of a stream may have none."""
    match piece:
        case {"error": error} if error:
            raise StepUnavailable("the model's server reported an error instead of an answer")
        case {"choices": [dict(choice), *_]}:
            return choice
        case {"choices": []}:
            return {}
        case _:
            raise StepUnavailable("the model's server answered with JSON that holds no answer of a model")


def _text_of(choice: dict[str, object]) -> str:
    match choice.get("message") or choice.get("delta"):
        case {"content": str(text)}:
            return text
        case {"content": [*parts]}:
            return "".join(_text_of_part(part) for part in parts)
        case _:
            return ""


def _text_of_part(part: object) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case _:
            return ""


def _reason_of(choice: dict[str, object]) -> str | None:
    reason = choice.get("finish_reason")

    return reason if isinstance(reason, str) and reason else None
