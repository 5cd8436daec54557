"""The workflow API: start a workflow once per id, look at it, wait for it, cancel it.

Nothing about a workflow is kept here: every answer is read from the engine, so any replica gives it, before and after a
restart.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import HTMLResponse, JSONResponse

from orchestrator.callbacks.outcomes import read_settled
from orchestrator.errors import UnknownPromise
from orchestrator.runs.call_graph import PAGE, name_of, walk
from orchestrator.runs.cancellation import request_cancel
from orchestrator.runs.roots import start_root, view_root
from orchestrator.stored_names import CALLBACK_TAG
from orchestrator.text.strict_json import json_equal, loads_strict
from receiver.http.bodies import json_body
from receiver.http.problems import Problem
from receiver.http.routing import route
from receiver.http.telemetry import log_deed, log_if_unknown
from receiver.http.timestamps import rfc3339
from receiver.pages.templating import page_headers
from receiver.pages.timeline import TimelineStep, TimelineView, render
from receiver.surfaces.approval_record import approval_of
from receiver.surfaces.workflow_input import describe_faults, faults_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.types import PromiseRecord
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.engine import Engine
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.roots import RootView
    from receiver.http.auth import ApiKeys

logger = logging.getLogger(__name__)

#: Neither `.` nor `..`: clients and proxies resolve them as parts of the path.
_ID: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,128}", re.ASCII)
_WAIT: Final = re.compile(r"""wait\s*=\s*("?)(\d{1,6})\1""", re.ASCII | re.IGNORECASE)
_QUALITY: Final = re.compile(r"q\s*=\s*([01](?:\.\d{0,3})?)", re.ASCII | re.IGNORECASE)
_LONGEST_WAIT: Final = 30

_STEP_STATES: Final = {
    "pending": "running",
    "resolved": "succeeded",
    "rejected": "failed",
    "rejected_canceled": "cancelled",
    "rejected_timedout": "expired",
}

#: How a callback ended, as the state of its step; a decision is a success.
_OUTCOME_STATES: Final = {"failed": "failed", "died": "failed", "expired": "expired", "cancelled": "cancelled"}


class Workflows:
    """The surface `/workflows`."""

    def __init__(
        self,
        engine: Engine,
        workflows: Mapping[str, Workflow[Any]],
        *,
        organisation: str,
        api_keys: ApiKeys,
        max_body: int,
    ) -> None:
        self._engine = engine
        self._workflows = workflows
        self._organisation = organisation
        self._api_keys = api_keys
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        # An id that is none is told so, whatever is in it.
        return [route("/workflows/{name}/{id:path}", GET=self.show, PUT=self.start, DELETE=self.cancel)]

    async def start(self, request: Request) -> Response:
        """Start the workflow unless its id is taken; 201 when this request started it."""
        by = self._api_keys.authorise(request, "start")
        workflow = self._workflow(request)
        workflow_id = _id_of(request)
        body = await json_body(request, limit=self._max_body)
        faults = faults_of(workflow, body.value)

        if faults:
            raise Problem("invalid-input", describe_faults(faults), errors=faults)

        with log_if_unknown(logger, request.scope, f"{workflow.name}.{workflow_id}", "started", by=by):
            view = await start_root(
                self._engine,
                name=workflow.name,
                workflow_id=workflow_id,
                text=body.text,
                group=workflow.group,
                timeout=workflow.timeout,
            )

        first = None if view.request is None else loads_strict(view.request.encode())

        if not view.created and view.request is not None and not json_equal(first, body.value):
            raise Problem("id-reused", "The input that was given first stands.")

        created = view.created

        if created:
            log_deed(logger, request.scope, view.root_id, "started", by=by)

        view = await self._waited(request, view)

        return JSONResponse({**_shown(request, view), "created": created}, status_code=201 if created else 200)

    async def show(self, request: Request) -> Response:
        """Say where the workflow stands, as JSON or as a page."""
        self._api_keys.authorise(request, "read")
        self._workflow(request)
        root_id = f"{request.path_params['name']}.{_id_of(request)}"

        try:
            view = view_root(await self._engine.promises.get(root_id))
        except UnknownPromise:
            raise Problem("unknown-id") from None

        view = await self._waited(request, view)

        if _wants_page(request):
            return await self._page(request, view)

        answer = _shown(request, view)

        if request.query_params.get("steps") == "1":
            answer |= await self._steps(root_id, request.query_params.get("after"))

        return JSONResponse(answer, headers={"Vary": "Accept"})

    async def cancel(self, request: Request) -> Response:
        """Ask for the workflow to be cancelled; without effect on one that is over."""
        by = self._api_keys.authorise(request, "operate")
        self._workflow(request)
        root_id = f"{request.path_params['name']}.{_id_of(request)}"

        try:
            with log_if_unknown(logger, request.scope, root_id, "cancelled", by=by):
                cancelled = await request_cancel(self._engine, root_id)

            if cancelled:
                log_deed(logger, request.scope, root_id, "cancelled", by=by)

            view = view_root(await self._engine.promises.get(root_id))
        except UnknownPromise:
            raise Problem("unknown-id") from None

        return JSONResponse(_shown(request, view), status_code=202)

    def _workflow(self, request: Request) -> Workflow[Any]:
        try:
            return self._workflows[request.path_params["name"]]
        except KeyError:
            raise Problem("unknown-workflow") from None

    async def _waited(self, request: Request, view: RootView) -> RootView:
        seconds = _wait_of(request)

        if view.state != "running" or not seconds:
            return view

        return view_root(await self._engine.wait_settled(view.root_id, seconds=seconds))

    async def _steps(self, root_id: str, after: str | None) -> dict[str, Any]:
        records, more = await self._walked(root_id, after)
        shown: dict[str, Any] = {"steps": [_audited(record) for record in records]}

        return shown | {"truncated": True, "next": records[-1].id} if more else shown

    async def _walked(self, root_id: str, after: str | None = None) -> tuple[list[PromiseRecord], bool]:
        """Return a page of the steps, those after this one, and whether there are more."""
        records: list[PromiseRecord] = []

        try:
            async for record in walk(self._engine.promises, root_id, after=after):
                if len(records) == PAGE:
                    return records, True

                records.append(record)

        except ValueError:
            raise Problem("invalid-id", "The parameter `after` is the id of one of this workflow's steps.") from None

        return records, False

    async def _page(self, request: Request, view: RootView) -> Response:
        nonce = secrets.token_urlsafe(16)
        records, more = await self._walked(view.root_id)
        page = TimelineView(
            workflow=request.path_params["name"],
            id=request.path_params["id"],
            state=view.state,
            started_at=rfc3339(view.started_at),
            ended_at=None if view.ended_at is None else rfc3339(view.ended_at),
            result=view.result,
            error=view.error,
            steps=tuple(TimelineStep(**_step(record)) for record in records),
            more=more,
        )

        html = render(page, nonce, organisation=self._organisation)

        return HTMLResponse(html, headers={**page_headers(nonce), "Vary": "Accept"})


def _id_of(request: Request) -> str:
    workflow_id: str = request.path_params["id"]

    if _ID.fullmatch(workflow_id) is None:
        raise Problem("invalid-id", "An id is 1 to 128 of A-Z a-z 0-9 . _ - but neither . nor ..")

    return workflow_id


def _wait_of(request: Request) -> float:
    """Return the seconds that `Prefer: wait=N` asks for, at most 30; 0 where it asks for none or is malformed."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            match = _WAIT.fullmatch(preference.partition(";")[0].strip())

            if match is not None:
                return min(int(match[2]), _LONGEST_WAIT)

    return 0


def _wants_page(request: Request) -> bool:
    """Whether a browser asks: `text/html` is named, and JSON is not liked as much."""
    liked: dict[str, tuple[float, int]] = {}

    for place, offer in enumerate(",".join(request.headers.getlist("accept")).lower().split(",")):
        media_type, *parameters = (part.strip() for part in offer.split(";"))
        quality = next((float(found[1]) for each in parameters if (found := _QUALITY.fullmatch(each))), 1.0)
        # Of two that are liked alike the first one wins.
        liked.setdefault(media_type, (quality, -place))

    page = liked.get("text/html", (0.0, 0))

    return page[0] > 0 and page > liked.get("application/json", (0.0, 0))


def _shown(request: Request, view: RootView) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "workflow": request.path_params["name"],
        "id": request.path_params["id"],
        "state": view.state,
    }

    if view.state == "succeeded" and view.result is not None:
        answer["result"] = json.loads(view.result)

    if view.error is not None:
        answer["error"] = json.loads(view.error)

    return answer


def _audited(record: PromiseRecord) -> dict[str, Any]:
    approval = approval_of(record)

    return _step(record) if approval is None else {**_step(record), "approval": approval}


def _step(record: PromiseRecord) -> dict[str, Any]:
    ended = record.settled_at

    return {
        "id": record.id,
        "name": name_of(record),
        "state": _state_of(record),
        "started_at": rfc3339(record.created_at),
        "ended_at": None if ended is None else rfc3339(ended),
    }


def _state_of(record: PromiseRecord) -> str:
    callback = record.tags.get(CALLBACK_TAG)
    settled = None if callback is None else read_settled(record, callback=callback)

    if settled is None:
        return _STEP_STATES[record.state]

    return _OUTCOME_STATES.get(settled.outcome.kind, "succeeded")
