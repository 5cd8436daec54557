"""The model's answers, kept on the worker's disk until they are on record: a crash in between asks nobody twice."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING

from orchestrator.llm.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.durable.kept_files import KeptFiles
    from orchestrator.llm.chat import LanguageModel, Message

logger = logging.getLogger(__name__)


class Answers:
    """Asks the model, and keeps what it answered.

    A worker on another machine, or one whose disk failed, asks again: then the model is asked at least once.
    """

    def __init__(self, files: KeptFiles) -> None:
        self._files = files

    async def ask(self, model: LanguageModel, conversation: Sequence[Message], *, key: str) -> Reply:
        """Return what the model answered to this conversation under this key, and ask it only if that is not known.

        Raises: as `LanguageModel.ask`.
        """
        question = json.dumps([key, model.name, *conversation]).encode()
        name = hashlib.sha256(question).hexdigest()
        known = _read(await self._files.read(name))

        if known is not None:
            return known

        reply = await model.ask(conversation, key=name)

        try:
            await self._files.write(name, json.dumps({"text": reply.text, "cut": reply.cut}).encode())
        except OSError as error:
            logger.warning("a model's answer could not be kept, so a crash may ask again: %s", error.strerror)

        return reply


def _read(data: bytes | None) -> Reply | None:
    try:
        value = json.loads(data or b"null")
    except ValueError:
        return None

    match value:
        case {"text": str(text), "cut": bool(cut)}:
            return Reply(text=text, cut=cut)
        case _:
            return None
