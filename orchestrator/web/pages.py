"""A page for a workflow: fetched once, its text kept in a file, its digest in the record.

The record of a workflow holds where the page is, its title, digest and length. The text is in a file of the worker, and
is fetched again when that is gone, for example on another machine. What is fetched then may differ, and the digest
tells.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.text.crashes import describe_crash
from orchestrator.text.times import retry_after, rfc3339
from orchestrator.web.page_urls import page_url, redirected
from orchestrator.web.reading import read

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from orchestrator.durable.kept_files import KeptFiles
    from orchestrator.web.page_urls import PageURL
    from orchestrator.web.public_addresses import Network
    from orchestrator.web.reading import Reading
    from orchestrator.web.transport import Response

logger = logging.getLogger(__name__)

DEFAULT_PLACE: Final = Path(".countersign/pages")

#: Seconds for a page in all, redirects included; reading what was fetched has a limit of its own.
_SECONDS: Final = 45.0
_REDIRECTS: Final = 5

#: How many pages are read at the same time. Each may take a processor and a gigabyte of memory.
_READERS: Final = 2

_MOVED: Final = {301, 302, 303, 307, 308}

#: Statuses other than 5xx that may be different the next time (RFC 9110, RFC 6585, RFC 8470).
_PASSING: Final = {408, 425, 429}
_MISSING: Final = {404, 410}
_OK: Final = 200
_SERVER_FAILED: Final = 500


@dataclass(frozen=True, kw_only=True)
class PageRecord:
    """What a workflow's record holds of a page.

    `url` is as it was asked for, `final_url` where it was found behind redirects. `title` is one line, or empty.
    `digest` is the SHA-256 of the text in hex and `length` its number of characters; `fetched_at` is RFC 3339.
    """

    url: str
    final_url: str
    title: str
    digest: str
    length: int
    fetched_at: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page with its main text. It is a stranger's: data, to be escaped where it is shown and never to be obeyed."""

    record: PageRecord
    text: str


class Transport(Protocol):
    """What makes one request. `orchestrator.web.transport` has the one for public addresses."""

    async def get(self, url: PageURL) -> Response:
        """Return the response to a GET request; see there for what is raised."""


class Pages:
    """A dependency of steps: fetches pages from public addresses, and from `allowed` networks.

    Without `kept` no text is kept, and each use of a page fetches it.
    """

    def __init__(  # noqa: PLR0913 - what surrounds it, all of it named
        self,
        *,
        allowed: tuple[Network, ...] = (),
        kept: KeptFiles | None = None,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.time,
        seconds: float = _SECONDS,
        read: Callable[[bytes, str], Awaitable[Reading]] = read,
    ) -> None:
        self._allowed = allowed
        self._kept = kept
        self._transport = transport
        self._clock = clock
        self._seconds = seconds
        self._read = read
        self._readers = asyncio.Semaphore(_READERS)

    async def fetch(self, url: str) -> Page:
        """Fetch a page, keep its text, and return it. For a step that returns `page.record`.

        Raises:
            StepRefused: for good: the URL or an address behind it is not allowed, the name does not resolve, there is
                no such page, it is no text, has none, or is too large. The message is the reason.
            StepUnavailable: not now: no answer in time, 408, 425, 429 or 5xx.
        """
        try:
            async with asyncio.timeout(self._seconds):
                found, response = await self._followed(page_url(url))
        except TimeoutError:
            raise StepUnavailable(f"the page was not fetched whole within {self._seconds:g} s") from None

        async with self._readers:
            reading = await self._read(response.body, _header(response.headers, "content-type"))

        record = PageRecord(
            url=url,
            final_url=str(found),
            title=reading.title,
            digest=hashlib.sha256(reading.text.encode()).hexdigest(),
            length=len(reading.text),
            fetched_at=rfc3339(int(self._clock() * 1000)),
        )

        await self._keep(record.digest, reading.text.encode())

        return Page(record=record, text=reading.text)

    async def again(self, record: PageRecord) -> Page:
        """Return the page of this record: its kept text, or if that is gone, the page as it is now.

        The page has changed if the digest of its record is another than that of `record`. Call this inside of the step
        that uses the text, so that what became of the page is on record with the step's result.

        Raises: as `fetch`.
        """
        content = await self._find(record.digest)

        return await self.fetch(record.url) if content is None else Page(record=record, text=content.decode())

    async def _keep(self, digest: str, content: bytes) -> None:
        if self._kept is not None:
            try:
                await self._kept.write(digest, content)
            except (OSError, ValueError) as error:
                logger.warning("a page could not be kept and will be fetched again: %s", describe_crash(error))

    async def _find(self, digest: str) -> bytes | None:
        """Return the kept content with this digest. A file that was damaged is the same as one that is gone."""
        content = await self._kept.read(digest) if self._kept is not None else None

        return content if content is not None and hashlib.sha256(content).hexdigest() == digest else None

    async def _followed(self, url: PageURL) -> tuple[PageURL, Response]:
        transport = self._transport or _transport(self._allowed)

        for _ in range(_REDIRECTS + 1):
            response = await transport.get(url)
            location = _header(response.headers, "location")

            if response.status not in _MOVED or not location:
                _require_page(url, response, self._clock())

                return url, response

            url = redirected(url, location)

        raise StepRefused(f"the page redirects more than {_REDIRECTS} times")


def _transport(allowed: tuple[Network, ...]) -> Transport:
    from orchestrator.web import transport  # noqa: PLC0415 - its HTTP client is slow to import

    return transport.Transport(allowed=allowed)


def _require_page(url: PageURL, response: Response, now: float) -> None:
    if response.status == _OK:
        return

    if response.status in _PASSING or response.status >= _SERVER_FAILED:
        raise StepUnavailable(
            f"{url.host} answered {response.status}",
            retry_after=retry_after(_header(response.headers, "retry-after"), now),
        )

    if response.status in _MISSING:
        raise StepRefused(f"there is no such page: {url.host} answered {response.status}")

    raise StepRefused(f"{url.host} answered {response.status} instead of a page")


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")
