"""The door of the console: who is signed in, signing in, and signing out.

A session is a signed cookie, so any replica recognises it. That somebody has signed out is recorded in the engine until
the session would have ended anyway: a copy of the cookie is useless from then on, at every replica.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from starlette.responses import RedirectResponse

from orchestrator.durable.notes import read_note, write_note
from receiver.http.telemetry import name_caller

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.engine.promises import Promises
    from receiver.http.auth import ApiKeys
    from receiver.http.sessions import Session, Sessions

#: Where somebody may be led after signing in: a path of the console, and nothing that a browser reads as a host.
_ONWARD: Final = re.compile(r"(?:/[A-Za-z0-9._~:@+%-]+)*(?:\?[A-Za-z0-9._~:@+%&=-]*)?", re.ASCII)
_LONGEST_ONWARD: Final = 1000
_DOTS: Final = frozenset({".", ".."})


class Door:
    """Recognises, admits and dismisses the people who use the console at the path `base`."""

    def __init__(self, sessions: Sessions, api_keys: ApiKeys, promises: Promises, *, base: str) -> None:
        self._sessions = sessions
        self._api_keys = api_keys
        self._promises = promises
        self._base = base
        #: The attributes of every cookie of the console.
        self.cookie_attributes: Final = sessions.attributes

    async def session(self, request: Request) -> Session | None:
        """Return the session of this request; None if nobody is signed in.

        Raises:
            EngineUnavailable: whether its holder has signed out is unknown.
        """
        session = self._sessions.read(request.cookies.get(self._sessions.cookie, ""))

        if session is None or await read_note(self._promises, _sign_out_id(session)) is not None:
            return None

        name_caller(request.scope, session.name)

        return session

    def sign_in(self, request: Request, key: str, onward: str) -> Response:
        """Start a session of this API key, and lead to the path `onward` below the console.

        Raises:
            Problem: `unauthorized` or `rate-limited`, as for a key in a header.
        """
        name = self._api_keys.identify_typed(request, key)
        response = RedirectResponse(f"{self._base}{usable(onward)}", status_code=303)
        response.headers["Set-Cookie"] = self._sessions.set_cookie(self._sessions.make(name))

        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session of this request, and every copy of it.

        Raises:
            EngineUnavailable: it may not have ended; trying again is safe.
        """
        session = self._sessions.read(request.cookies.get(self._sessions.cookie, ""))

        if session is not None:
            await write_note(self._promises, _sign_out_id(session), None, ends_at=session.ends_at * 1000)

        response = RedirectResponse(self._base, status_code=303)
        response.headers["Set-Cookie"] = self._sessions.clear_cookie()

        return response

    def forget(self, response: Response) -> Response:
        """Make the browser that gets this response forget its session."""
        response.headers["Set-Cookie"] = self._sessions.clear_cookie()

        return response


def usable(onward: str) -> str:
    """Return this path below the console if it may be one of ours, else the console's own."""
    # A browser takes an encoded dot for a dot.
    segments = map(unquote, onward.partition("?")[0].split("/"))

    if len(onward) > _LONGEST_ONWARD or _ONWARD.fullmatch(onward) is None or not _DOTS.isdisjoint(segments):
        return ""

    return onward


def _sign_out_id(session: Session) -> str:
    return f"countersign.console~{session.id}~signed-out"
