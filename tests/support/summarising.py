"""A trial of `summarize_website` between a page and a chat server, both on loopback and both counted."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from support.approving import ADA
from support.chatting import ChatServer, chat_server
from support.websites import Website, response, website

from orchestrator.config.secret import Secret
from orchestrator.durable.kept_files import KeptFiles
from orchestrator.llm.chat import LanguageModel, Limits
from orchestrator.testing import Trial
from orchestrator.web.pages import Pages
from orchestrator.workflows import summarize_website
from orchestrator.workflows.summary.answers import Answers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from support.chatting import Answer

    from orchestrator.testing.trial.runs import Run
    from orchestrator.testing.trial.waits import Wait

TEXT = b"A key opens a door. A door has a lock. Locks are made of brass."
PAGE = response(TEXT, "text/plain")
LOOPBACK = ip_network("127.0.0.0/8")
QUICK = Limits(silence=0.3, total=2.0)


@dataclass
class Newsroom:
    """A trial, the page and the model."""

    trial: Trial
    site: Website
    chat: ChatServer
    folder: Path

    async def start(self, **changed: Any) -> Run:
        request = {"url": self.site.url(), "reviewer": ADA, **changed}

        return await self.trial.start(summarize_website, request)

    async def reject(self, run: Run, number: int) -> None:
        wait = await run.waiting(f"review-{number}")
        await wait.decide("reject", by=ADA, comment=f"Comment {number}.")

    async def approve(self, run: Run, number: int) -> None:
        wait: Wait = await run.waiting(f"review-{number}")
        await wait.decide("approve", by=ADA)

    def lose_the_page(self) -> None:
        """Delete what is kept of pages, as on another machine."""
        for file in (self.folder / "pages").iterdir():
            file.unlink()


@contextlib.asynccontextmanager
async def newsroom(
    folder: Path,
    script: Sequence[Answer] = (),
    *,
    everywhere: bool = False,
    model: bool = True,
    pages: dict[str, Any] | None = None,
) -> AsyncIterator[Newsroom]:
    """Run a trial; the files of its worker are in the folder and survive its crashes."""
    async with website({"/": PAGE} if pages is None else pages) as site, chat_server(script) as chat:
        dependencies: dict[Any, object] = {
            Pages: Pages(allowed=(LOOPBACK,), kept=KeptFiles(folder / "pages")),
            LanguageModel: LanguageModel(Secret(chat.setting) if model else None, limits=QUICK),
            Answers: Answers(KeptFiles(folder / "answers")),
        }

        async with Trial(summarize_website, dependencies=dependencies, crash_everywhere=everywhere) as trial:
            yield Newsroom(trial, site, chat, folder)
