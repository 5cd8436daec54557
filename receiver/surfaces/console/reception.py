"""What every page of the console goes through: who asks, whether they may, and a page for every refusal.

A handler of a page gets the request and a `Visit`. It raises `Problem` as the API does; here that becomes a page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from orchestrator.config.keys import ROLES
from orchestrator.errors import EngineUnavailable, UnknownPromise
from receiver.http.forms import is_same_origin, read_form
from receiver.http.problems import Problem
from receiver.http.routing import path_below
from receiver.pages.approval import redirect
from receiver.pages.console import Frame, Reader, console_page
from receiver.pages.console_form import Field, Form
from receiver.pages.moments import Moments, zones
from receiver.surfaces.console.door import Door, usable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator.config.keys import Role
    from receiver.http.auth import ApiKeys
    from receiver.http.routing import Handler
    from receiver.http.sessions import Session
    from receiver.surfaces.edge import Edge

    type Show = Callable[[Request, Visit], Awaitable[Response]]

PATH: Final = "/console"

_ELSEWHERE: Final = "This form was sent by another site. Nothing was done."
_GONE: Final = "You are not signed in any more, so nothing was done. Sign in to go on."
_UNKNOWN: Final = "The service did not respond in time, so perhaps nothing was done. Trying again is safe."
_SAFE: Final = frozenset({"GET", "HEAD"})

#: The fields of all forms of the console, and where a request keeps those that were read of it.
_FIELDS: Final = ("body", "once", "outcome", "reason", "zone")
_SENT: Final = "countersign.form"

#: The parameter of a second request by a reader who came from another site.
_ARRIVED: Final = "arrived"

_ZONE_COOKIE: Final = "countersign-zone"
_YEAR: Final = 365 * 86400


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of somebody who has signed in, and the frame of the page that they get."""

    session: Session
    frame: Frame

    def may(self, role: Role) -> bool:
        """Return whether the visitor's key has this role or a higher one."""
        return ROLES.index(self.session.role) >= ROLES.index(role)


class Reception:
    """Admits requests to the pages of the console."""

    def __init__(self, edge: Edge, door: Door, api_keys: ApiKeys, *, organisation: str, public_url: str) -> None:
        self._edge = edge
        self._door = door
        self._api_keys = api_keys
        self._public_url = public_url
        self._frame = Frame(organisation=organisation, base=f"{urlsplit(public_url).path}{PATH}")

    def page(self, show: Show, *, role: Role = "read", here: str = "") -> Handler:
        """Return the handler that shows this page to whoever has signed in with this role or a higher one."""

        async def handle(request: Request) -> Response:
            frame = replace(self._frame, here=here, moments=Moments(request.cookies.get(_ZONE_COOKIE, "UTC")))

            try:
                self._refuse_other_sites(request)
                session = await self._door.session(request)

                if session is None:
                    return self._sign_in_first(request)

                frame = replace(frame, reader=Reader(name=session.name, role=session.role))
                self._api_keys.require(session.name, role)

                return await show(request, Visit(session=session, frame=frame))
            except Problem as problem:
                return refusal(frame, problem)
            except UnknownPromise:
                return refusal(frame, Problem("unknown-id"))
            except EngineUnavailable as error:
                self._edge.metrics.engine_error()

                return await self._unanswered(request, frame, error)

        return handle

    async def sign_in(self, request: Request) -> Response:
        """Start a session for whoever sends an API key."""
        try:
            self._refuse_other_sites(request)
            fields = await self.fields(request, ("key", "onward"))
        except Problem as problem:
            return refusal(self._frame, problem)

        onward = fields.get("onward", "")

        try:
            return self._door.sign_in(request, fields.get("key", ""), onward)
        except Problem as problem:
            limited = problem.name == "rate-limited"
            fault = "Too many wrong keys. Please wait a minute." if limited else "That is not a key of this service."

            return self._sign_in_page(onward, fault=fault, problem=problem)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        try:
            self._refuse_other_sites(request)

            return await self._door.sign_out(request)
        except Problem as problem:
            return refusal(self._frame, problem)
        except EngineUnavailable as error:
            self._edge.metrics.engine_error()

            return refusal(self._frame, Problem("engine-unavailable", str(error)))

    async def zone(self, request: Request, visit: Visit) -> Response:
        """Show the form that asks for the reader's time zone, or remember the zone in the reader's browser."""
        form = Form(
            title="Time zone",
            subject="Overview",
            back=visit.frame.base,
            says=("Pages without a script do not learn where you are. Choose the zone in which you read times.",),
            fields=(
                Field(
                    name="zone",
                    label="Zone",
                    kind="line",
                    value=visit.frame.moments.zone,
                    hint="Such as Europe/Stockholm.",
                    options=[(zone, "") for zone in zones()],
                ),
            ),
            button="Use this zone",
        )

        if request.method != "POST":
            return form.response(visit.frame)

        given = await self.fields(request, ("zone",))
        zone = given.get("zone", "").strip()

        if zone not in zones():
            return form.response(visit.frame, status=422, fault="This computer knows no such zone.", given=given)

        response = redirect(visit.frame.base)
        response.headers["Set-Cookie"] = f"{_ZONE_COOKIE}={zone}; Max-Age={_YEAR}; {self._door.cookie_attributes}"

        return response

    async def fields(self, request: Request, names: Sequence[str]) -> dict[str, str]:
        """Return those of the named fields that the request's form has.

        Raises:
            Problem: as for `read_form`.
        """
        given = await read_form(request, names, limit=self._edge.max_body)
        request.scope[_SENT] = given

        return given

    async def _unanswered(self, request: Request, frame: Frame, error: EngineUnavailable) -> Response:
        """Return the page of a request that the engine did not answer.

        A form is on it as it was sent, so that what somebody wrote does not get lost: no page of ours is stored, so
        going back would show an empty one. Each form of the console does the same when it is sent again.
        """
        if request.method in _SAFE:
            return refusal(frame, Problem("engine-unavailable", str(error)))

        try:
            given = request.scope[_SENT] if _SENT in request.scope else await self.fields(request, _FIELDS)
        except Problem as unusable:
            return refusal(frame, unusable)

        return refusal(frame, Problem("engine-unavailable", _UNKNOWN), again=given)

    def _refuse_other_sites(self, request: Request) -> None:
        if request.method not in _SAFE and not is_same_origin(request, self._public_url):
            raise Problem("forbidden", _ELSEWHERE)

    def _sign_in_first(self, request: Request) -> Response:
        below = path_below(request.scope).removeprefix(PATH)
        kept = [pair for pair in request.url.query.split("&") if pair and not pair.startswith(f"{_ARRIVED}=")]
        onward = usable(f"{below}?{'&'.join(kept)}" if kept else below)

        if request.method not in _SAFE:
            return self._sign_in_page(usable(below), fault=_GONE, problem=Problem("unauthorized"))

        if request.headers.get("sec-fetch-site") == "cross-site" and _ARRIVED not in request.query_params:
            # A browser does not send our cookie with a link from another site, but it does with one from this page.
            again = f"{self._frame.base}{onward}{'&' if '?' in onward else '?'}{_ARRIVED}=1"

            return console_page("console_moving_on.html", self._frame, refresh=0, refresh_to=again, onward=again)

        return self._sign_in_page(onward, problem=Problem("unauthorized") if below else None)

    def _sign_in_page(self, onward: str, *, fault: str | None = None, problem: Problem | None = None) -> Response:
        """Return the form that asks for a key: with status 200 if it is what was asked for, else with the refusal's."""
        status, headers = (200, {}) if problem is None else (problem.status, problem.headers)
        page = console_page(
            "console_sign_in.html", self._frame, status=status, headers=headers, fault=fault, onward=usable(onward)
        )

        return self._door.forget(page)


def refusal(frame: Frame, problem: Problem, *, again: Mapping[str, str] | None = None) -> Response:
    """Return a refusal as a page of the console; one button sends the fields in `again` to the same address."""
    return console_page(
        "console_notice.html",
        frame,
        status=problem.status,
        headers=problem.headers,
        title=problem.title,
        text=problem.detail or "",
        back=None,
        again=again or {},
    )
