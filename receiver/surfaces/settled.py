"""The response to a delivery that settled a wait, now or earlier: the same for callbacks and webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from orchestrator.text.times import rfc3339

if TYPE_CHECKING:
    from orchestrator.callbacks.claims import Claims
    from orchestrator.callbacks.outcomes import Settled


def settled_response(claims: Claims, settled: Settled, *, duplicate: bool) -> Response:
    """Return the response to a delivery that settled this wait; `duplicate` if an equal earlier one had done so."""
    document = {
        "state": "settled",
        "duplicate": duplicate,
        "callback": claims.callback,
        "settled_at": rfc3339(settled.settled_at),
    }

    return Response(msgspec.json.encode(document), media_type="application/json")
