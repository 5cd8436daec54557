"""The frame of the console's pages: who is signed in, where to go, in which zone times are shown.

Its pages have the headers of all pages: no script, nothing loaded from elsewhere, no framing. A page that shows
something in motion may ask the browser to fetch it again, unless the reader has paused that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from receiver.pages.moments import Moments
from receiver.pages.templating import TEMPLATES, page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from orchestrator.config.keys import Role
    from orchestrator.runs.root_ids import RootName

#: Seconds after which a page that shows something in motion is fetched again.
REFRESH: Final = 10


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Who reads a page of the console: the name of their API key and its role."""

    name: str
    role: Role


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What surrounds a page: the organisation, the path of the console, and who reads it, None if nobody signed in.

    `here` names the part of the console that the page belongs to.
    """

    organisation: str
    base: str
    reader: Reader | None = None
    here: str = ""
    moments: Moments = field(default_factory=Moments)

    def run(self, name: RootName, *below: str) -> str:
        """Return the path of a run's page, or of a page below it."""
        return "/".join((self.base, "workflows", quote(name.workflow), quote(name.id), *map(quote, below)))


def console_page(  # noqa: PLR0913 - each with a default that is right for most pages
    template: str,
    frame: Frame,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    refresh: int | None = None,
    refresh_to: str | None = None,
    **shown: object,
) -> Response:
    """Return the page of this template.

    `refresh` is the number of seconds after which a browser fetches it again, or fetches `refresh_to` instead.
    """
    more = {} if refresh is None else {"Refresh": f"{refresh}; url={refresh_to}" if refresh_to else str(refresh)}

    return page(
        TEMPLATES.get_template(template).render,
        status,
        {**more, **(headers or {})},
        frame=frame,
        organisation=frame.organisation,
        **shown,
    )
