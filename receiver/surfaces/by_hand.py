"""What operators do by hand, over the workflow API and in the console: answer an open wait that nobody else answers.

Each action is recorded in the engine with who did it and why, logged with one line, and counted. `ByHand` has a method
for each, which takes the name of a key that is known to have the role; the handlers of the API check that first.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.responses import JSONResponse

from orchestrator.by_hand.answering import HandAnswer, answer_by_hand
from orchestrator.by_hand.finding import NotUsable, UnknownCallback
from orchestrator.callbacks.outcomes import CLOSED
from orchestrator.errors import UnknownPromise
from orchestrator.runs.root_ids import name_of_root
from orchestrator.text.times import rfc3339
from receiver.http.bodies import json_body
from receiver.http.client_addresses import client_address
from receiver.http.idempotency_keys import idempotency_key
from receiver.http.problems import Problem
from receiver.http.routing import route
from receiver.http.telemetry import log_action, log_if_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Scope

    from orchestrator.by_hand.answering import Answered
    from orchestrator.callbacks.outcomes import Settled
    from receiver.http.auth import ApiKeys
    from receiver.surfaces.edge import Edge

    type RootOf = Callable[[Request], str]
    type UnknownRoot = Callable[[Request], Problem]

logger = logging.getLogger(__name__)

_CALLBACK: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_FIELDS: Final = {"outcome", "body", "reason", "step"}
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
        return [route(_PATH, POST=self._answer)]

    async def answer(self, scope: Scope, root_id: str, callback: str, answer: HandAnswer) -> Answered:
        """Answer the open wait of this run with this name, or find that the same answer was given before.

        Raises:
            Problem: `unknown-callback`, `invalid-input`, `already-settled`, `expired`, `ikey-reused`.
            UnknownPromise, EngineUnavailable: as for `answer_by_hand`.
        """
        _check_name(callback)

        try:
            with log_if_unknown(logger, scope, root_id, f"callback {callback} answered by hand", by=answer.by):
                answered = await answer_by_hand(self._edge.engine, root_id, callback, answer)

        except UnknownCallback:
            self._edge.metrics.by_hand("answer", "refused")
            raise _unknown_callback() from None
        except NotUsable as fault:
            self._edge.metrics.by_hand("answer", "refused")
            raise _invalid(fault.field, str(fault)) from None

        match answered.verdict:
            case "applied":
                self._edge.metrics.by_hand("answer", "done")
                log_action(logger, scope, root_id, f"callback {callback} answered by hand", by=answer.by)
            case "duplicate":
                self._edge.metrics.by_hand("answer", "duplicate")
            case "ikey_reused":
                self._edge.metrics.by_hand("answer", "refused")
                raise Problem("ikey-reused", "The answer that was recorded first still applies.")
            case _:
                self._edge.metrics.by_hand("answer", "refused")
                raise over(answered.settled, answered.wait.timeout_at)

        return answered

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
    if _CALLBACK.fullmatch(callback) is None:
        raise _unknown_callback()


def _unknown_callback() -> Problem:
    return Problem("unknown-callback", "The workflow has opened no callback with this name so far.")


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
