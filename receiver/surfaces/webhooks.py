"""Third-party webhooks: a delivery with its sender's signature settles a wait, or starts a workflow, once.

The signature is checked over the bytes before anything in them is parsed. The response says no more than the sender
needs: that the delivery was accepted, or should be sent again. A delivery is acknowledged only after its effect is
recorded. The status 410 is never used, because some senders disable an address that returns it.
"""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from orchestrator.callbacks.claims import TokenExpired
from orchestrator.callbacks.deliver import WaitReplaced, deliver, wait_of
from orchestrator.callbacks.delivery_binding import PERMANENTLY, WHILE_RETRIED, bind
from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.wait_traces import trace_wait
from orchestrator.databricks.hints import request_poll
from orchestrator.errors import UnknownPromise
from orchestrator.runs.root_ids import root_id_of
from orchestrator.runs.roots import start_root
from receiver.http.bodies import read_body
from receiver.http.problems import Problem
from receiver.http.routing import route
from receiver.http.telemetry import log_action, log_if_unknown
from receiver.senders.deliveries import read_delivery
from receiver.senders.schemes.scheme import SignatureRefused, SignatureRepeated, SignedNoText
from receiver.surfaces.presented_token import verify_token
from receiver.surfaces.settled import settled_response
from receiver.surfaces.workflow_input import describe_faults, faults_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from orchestrator.callbacks.claims import Claims
    from orchestrator.runs.definition import Workflow
    from receiver.http.bad_tokens import BadTokens
    from receiver.senders.deliveries import Delivery
    from receiver.senders.schemes.scheme import Signed
    from receiver.senders.sources import Source, Sources
    from receiver.surfaces.edge import Edge

logger = logging.getLogger(__name__)


class _BoundElsewhere(Exception):
    """The delivery is bound to another wait."""


class Webhooks:
    """The surface `/webhooks`. The workers of `group` are asked to poll Databricks runs."""

    def __init__(self, edge: Edge, sources: Sources, *, group: str, bad_signatures: BadTokens) -> None:
        self._edge = edge
        self._sources = sources
        self._group = group
        self._bad_signatures = bad_signatures

    def routes(self) -> list[Route]:
        """Return the routes of this surface."""
        return [route("/webhooks/{source}", POST=self.take), route("/webhooks/{source}/{token}", POST=self.take)]

    async def take(self, request: Request) -> Response:
        """Handle one delivery: settle a wait, start a workflow, prompt a poll, or acknowledge and ignore it."""
        source = self._sources.get(request.path_params["source"])

        if source is None:
            raise Problem("unknown-source")

        data = await read_body(request, limit=self._edge.max_body)
        delivery = await read_delivery(source, data, self._verified(source, request, data))

        if delivery.challenge is not None:
            return JSONResponse({"challenge": delivery.challenge})

        if not delivery.wanted:
            self._edge.metrics.webhook("ignored")
            return JSONResponse({"state": "ignored"})

        if source.kind == "databricks":
            return await self._prompt(request, delivery)

        if source.workflow is not None:
            return await self._start(request, delivery, source.workflow)

        return await self._settle(request, delivery)

    def _verified(self, source: Source, request: Request, data: bytes) -> Signed:
        try:
            return source.scheme.verify(request.headers.raw, data, now=self._edge.clock)
        except SignedNoText:
            raise Problem("malformed-body", "The text is not UTF-8.") from None
        except SignatureRefused as error:
            self._edge.metrics.webhook("refused")
            problem = self._bad_signatures.refusal(request.scope, _refused(source, error), of=source.name)
            # A flood must not fill the log.
            level = logging.DEBUG if problem.name == "rate-limited" else logging.INFO
            logger.log(level, "a delivery to the source %s was refused: %s", source.name, error)

            raise problem from None

    async def _prompt(self, request: Request, delivery: Delivery) -> Response:
        """Ask for a poll of a Databricks run. Only a password authenticates the sender, so this settles nothing."""
        _no_token_in_path(request)
        run_id = delivery.run_id()
        await request_poll(self._edge.engine, run_id, group=self._group)
        self._edge.metrics.webhook("prompted")

        return JSONResponse({"state": "prompted"})

    async def _start(self, request: Request, delivery: Delivery, workflow: Workflow[Any]) -> Response:
        _no_token_in_path(request)
        body = await delivery.input()
        faults = faults_of(workflow, body.value)

        if faults:
            raise Problem("malformed-body", describe_faults(faults))

        root_id = root_id_of(workflow.name, delivery.workflow_id)
        mark = hashlib.sha256(root_id.encode()).digest()
        started = {"workflow": workflow.name, "id": delivery.workflow_id}

        # The engine forgets a workflow some time after its end, but a captured delivery may stay valid for longer.
        if await self._edge.engine.marks.has(mark):
            self._edge.metrics.webhook("duplicate")

            return JSONResponse({**started, "created": False})

        by = f"webhook:{delivery.source.name}"

        with log_if_unknown(logger, request.scope, root_id, "started", by=by):
            view = await start_root(
                self._edge.engine,
                name=workflow.name,
                workflow_id=delivery.workflow_id,
                text=body.text,
                group=workflow.group,
                timeout=workflow.timeout,
                version=workflow.version,
                clock=self._edge.clock,
            )

        if view.created:
            log_action(logger, request.scope, root_id, "started", by=by)

        # Only now: after a crash in between, the sender tries again, and the workflow is found by its id.
        await self._edge.engine.marks.put(mark)
        self._edge.metrics.webhook("started" if view.created else "duplicate")

        return JSONResponse({**started, "created": view.created})

    async def _settle(self, request: Request, delivery: Delivery) -> Response:
        token = _token_of(request, delivery)
        presented = verify_token(
            self._edge,
            request.scope,
            token,
            audience="machine",
            refusal="bad-token",
            outcome="succeeded",
        )
        claims = presented.claims
        outcome = Outcome(
            kind="succeeded",
            callback=claims.callback,
            by="webhook",
            body=await delivery.body_without(token),
            subject=claims.subject,
        )
        promises = self._edge.engine.promises

        try:
            wait = await wait_of(promises, presented)
        except UnknownPromise:
            # The wait should exist. If the engine is being restored, it may exist when the sender tries again.
            raise Problem("engine-unavailable", "The engine does not hold this wait.") from None
        except (TokenExpired, WaitReplaced):
            return self._over(delivery, claims)

        # A token in the path is not signed.
        check = partial(self._bind, delivery, claims) if "token" in request.path_params else None

        try:
            settlement = await deliver(promises, wait, outcome, delivery.ikey, check=check)
        except (TokenExpired, _BoundElsewhere):
            return self._over(delivery, claims)

        await trace_wait(self._edge.engine, claims.promise_id, claims.opened_at, settlement)

        match settlement.verdict:
            case "applied" | "duplicate" | "ikey_reused":
                # A sender may change a delivery that it sends again; what was recorded first stays.
                duplicate = settlement.verdict != "applied"
                self._edge.metrics.webhook("duplicate" if duplicate else "settled")

                return settled_response(claims, settlement.settled, duplicate=duplicate)
            case "other" | "closed":
                return self._over(delivery, claims)

    async def _bind(self, delivery: Delivery, claims: Claims) -> None:
        """Bind the delivery to this wait, or raise `_BoundElsewhere` if it is bound to another one."""
        first = await bind(
            self._edge.engine.promises,
            source=delivery.source.name,
            key=delivery.binding,
            claims=claims,
            lasts=WHILE_RETRIED if delivery.source.scheme.timestamped else PERMANENTLY,
            clock=self._edge.clock,
        )

        if not first:
            logger.warning(
                "a delivery to %s that is bound to another wait came again for %s",
                delivery.source.name,
                claims.promise_id,
            )
            raise _BoundElsewhere

    def _over(self, delivery: Delivery, claims: Claims) -> Response:
        self._edge.metrics.webhook("over")
        logger.info("a delivery to %s came for %s, which is over", delivery.source.name, claims.promise_id)

        return JSONResponse({"state": "over", "callback": claims.callback})


def _token_of(request: Request, delivery: Delivery) -> str:
    in_path: str | None = request.path_params.get("token")

    if in_path is None:
        return delivery.token()

    if delivery.source.token is not None:
        raise Problem("two-tokens", "This source expects the token in the signed body, not in the path.")

    return in_path


def _refused(source: Source, error: SignatureRefused) -> Problem:
    if isinstance(error, SignatureRepeated):
        return Problem("repeated-signature")

    return Problem("invalid-signature", headers={"WWW-Authenticate": source.scheme.challenge})


def _no_token_in_path(request: Request) -> None:
    if "token" in request.path_params:
        raise Problem("bad-token", "This source accepts no token in the path.")
