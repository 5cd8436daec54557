"""What operators do by hand, over the workflow API and in the console: answer a wait, remind people, start a run again.

Each action is recorded in the engine with who did it and why, logged with one line, and counted. `ByHand` has a method
for each, which takes the name of a key that is known to have the role; the handlers of the API check that first.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.responses import JSONResponse

from orchestrator.by_hand.answering import HandAnswer, answer_by_hand
from orchestrator.by_hand.finding import NotUsable, UnknownCallback
from orchestrator.by_hand.reminding import WaitOver, remind_by_hand
from orchestrator.callbacks.hand_reminders import RemindedAlready
from orchestrator.callbacks.outcomes import CLOSED
from orchestrator.errors import UnknownPromise
from orchestrator.runs.root_ids import name_of_root
from orchestrator.runs.start_again import CannotStartAgain, start_again
from orchestrator.text.times import rfc3339
from receiver.http.bodies import json_body, optional_json_body
from receiver.http.client_addresses import client_address
from receiver.http.idempotency_keys import idempotency_key
from receiver.http.problems import Problem
from receiver.http.routing import route
from receiver.http.telemetry import log_action, log_if_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Scope

    from orchestrator.by_hand.answering import Answered
    from orchestrator.callbacks.hand_reminders import HandReminder
    from orchestrator.callbacks.outcomes import Settled
    from orchestrator.runs.definition import Workflow
    from orchestrator.runs.roots import RootView
    from receiver.http.auth import ApiKeys
    from receiver.http.telemetry import HandAction
    from receiver.surfaces.edge import Edge

    type RootOf = Callable[[Request], str]
    type UnknownRoot = Callable[[Request], Problem]

logger = logging.getLogger(__name__)

_CALLBACK: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_FIELDS: Final = {"outcome", "body", "reason", "step"}
_REMIND_FIELDS: Final = {"reason", "step"}
_PATH: Final = "/workflows/{name}/{id}/callbacks/{callback}"


class ByHand:
    """The actions, and the surface `/workflows/{name}/{id}/callbacks`.

    `root_of` returns the root's id that a request names, and `unknown` the refusal of one that does not exist.
    """

    def __init__(self, edge: Edge, *, api_keys: ApiKeys, root_of: RootOf, unknown: UnknownRoot) -> None:
        self._edge = edge
        self._api_keys = api_keys
        self._root_of = root_of
        self._unknown = unknown

    def routes(self) -> list[Route]:
        """Return the routes of this surface. They come before those that match any path below a workflow."""
        return [route(_PATH, POST=self._answer), route(f"{_PATH}/remind", POST=self._remind)]

    async def answer(self, scope: Scope, root_id: str, callback: str, answer: HandAnswer) -> Answered:
        """Answer the open wait of this run with this name, or find that the same answer was given before.

        Raises:
            Problem: `unknown-callback`, `invalid-input`, `already-settled`, `expired`, `ikey-reused`.
            UnknownPromise, EngineUnavailable: as for `answer_by_hand`.
        """
        deed = f"callback {callback} answered by hand"

        with self._refusals("answer", callback), log_if_unknown(logger, scope, root_id, deed, by=answer.by):
            answered = await answer_by_hand(self._edge.engine, root_id, callback, answer)

        match answered.verdict:
            case "applied":
                self._edge.metrics.by_hand("answer", "done")
                log_action(logger, scope, root_id, deed, by=answer.by)
            case "duplicate":
                self._edge.metrics.by_hand("answer", "duplicate")
            case "ikey_reused":
                self._edge.metrics.by_hand("answer", "refused")
                raise Problem("ikey-reused", "The answer that was recorded first still applies.")
            case _:
                self._edge.metrics.by_hand("answer", "refused")
                raise over(answered.settled, answered.wait.timeout_at)

        return answered

    async def remind(  # noqa: PLR0913 - one action, all of it named
        self, scope: Scope, root_id: str, callback: str, *, by: str, reason: str = "", step: str | None = None
    ) -> HandReminder:
        """Request that the people of the open question with this name get their links again.

        Raises:
            Problem: `unknown-callback`, `invalid-input`, `already-settled`, `expired`; `rate-limited` within a minute.
            UnknownPromise, EngineUnavailable: as for `remind_by_hand`.
        """
        deed = f"callback {callback} reminded by hand"

        with self._refusals("remind", callback), log_if_unknown(logger, scope, root_id, deed, by=by):
            reminder = await remind_by_hand(self._edge.engine, root_id, callback, by=by, reason=reason, step=step)

        self._edge.metrics.by_hand("remind", "done")
        log_action(logger, scope, root_id, deed, by=by)

        return reminder

    async def start_again(  # noqa: PLR0913 - one action, all of it named
        self, scope: Scope, workflow: Workflow[Any], root_id: str, *, by: str, reason: str = "", key: str | None = None
    ) -> RootView:
        """Start a run again with the same input under a new id; with the same `key` once.

        Raises:
            Problem: `invalid-input`, if the input does not fit the workflow any more.
            UnknownPromise, EngineUnavailable: as for `start_again`.
        """
        try:
            with log_if_unknown(logger, scope, root_id, "started again", by=by):
                view = await start_again(self._edge.engine, workflow, root_id, by=by, reason=reason, key=key)

        except CannotStartAgain as fault:
            self._edge.metrics.by_hand("start_again", "refused")
            raise _invalid("input", str(fault)) from None

        self._edge.metrics.by_hand("start_again", "done" if view.created else "duplicate")

        if view.created:
            log_action(logger, scope, view.root_id, f"started again from {name_of_root(root_id)}", by=by)

        return view

    @contextlib.contextmanager
    def _refusals(self, action: HandAction, callback: str) -> Iterator[None]:
        """Turn what the block refuses into problems, and count it."""
        try:
            _check_name(callback)
            yield
        except UnknownCallback:
            self._edge.metrics.by_hand(action, "refused")
            raise Problem("unknown-callback", "The workflow has opened no callback with this name so far.") from None
        except NotUsable as fault:
            self._edge.metrics.by_hand(action, "refused")
            raise _invalid(fault.field, str(fault)) from None
        except WaitOver as ended:
            self._edge.metrics.by_hand(action, "refused")
            raise over(ended.settled, ended.timeout_at) from None
        except RemindedAlready as already:
            self._edge.metrics.by_hand(action, "refused")
            detail = "The people of this question were reminded by hand less than a minute ago."
            raise Problem("rate-limited", detail, {"Retry-After": str(already.seconds)}) from None

    async def _remind(self, request: Request) -> Response:
        by = self._api_keys.authorise(request, "operate")
        root_id = self._root_of(request)
        body = await optional_json_body(request, limit=self._edge.max_body)
        fields = {} if body is None else _members(body.value, _REMIND_FIELDS)
        callback = request.path_params["callback"]
        reason, step = (_text(fields, name) if name in fields else None for name in ("reason", "step"))

        try:
            reminder = await self.remind(request.scope, root_id, callback, by=by, reason=reason or "", step=step)
        except UnknownPromise:
            raise self._unknown(request) from None

        document = {
            **name_of_root(root_id).document(),
            "callback": callback,
            "reminder": reminder.number,
            "at": rfc3339(reminder.at),
        }

        return JSONResponse(document, status_code=202)

    async def _answer(self, request: Request) -> Response:
        by = self._api_keys.authorise(request, "operate")
        root_id = self._root_of(request)
        fields = _members((await json_body(request, limit=self._edge.max_body)).value, _FIELDS)
        answer = HandAnswer(
            outcome=_text(fields, "outcome"),
            reason=_text(fields, "reason"),
            by=by,
            body=json.dumps(fields["body"]) if "body" in fields else None,
            client=client_address(request.scope),
            step=_text(fields, "step") if "step" in fields else None,
            key=idempotency_key(request.headers.getlist("idempotency-key")),
        )
        callback = request.path_params["callback"]

        try:
            answered = await self.answer(request.scope, root_id, callback, answer)
        except UnknownPromise:
            raise self._unknown(request) from None

        return JSONResponse(
            {
                **name_of_root(root_id).document(),
                "callback": callback,
                "step": answered.wait.id,
                "state": "settled",
                "duplicate": answered.verdict == "duplicate",
                "settled_at": rfc3339(answered.settled.settled_at),
            }
        )


def over(settled: Settled, timeout_at: int) -> Problem:
    """Return the refusal of what needs an open wait, for one that was settled like this."""
    if settled.outcome.kind in CLOSED:
        return Problem("expired", expires_at=rfc3339(timeout_at))

    return Problem("already-settled", settled_at=rfc3339(settled.settled_at), by=settled.outcome.by)


def _check_name(callback: str) -> None:
    """Return if a workflow can give a callback this name: what a client sends is logged only then."""
    if _CALLBACK.fullmatch(callback) is None:
        raise UnknownCallback(callback)


def _invalid(field: str, message: str) -> Problem:
    return Problem("invalid-input", message, errors=[{"field": field, "message": message}])


def _members(value: object, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _invalid("body", "The body must be a JSON object.")

    if unknown := sorted(value.keys() - known):
        raise _invalid("body", f"The body may have: {', '.join(sorted(known))}. It has {len(unknown)} other members.")

    return cast("Mapping[str, Any]", value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)

    if not isinstance(value, str):
        raise _invalid(name, f"{name} must be a text.")

    return value
