"""The response to a delivery that settled a wait, and that the OpenAPI document describes exactly that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.callbacks.claims import Claims
from orchestrator.callbacks.outcomes import Outcome, Settled
from receiver.openapi.parts import schemas
from receiver.surfaces.settled import settled_response

if TYPE_CHECKING:
    from starlette.responses import Response

CLAIMS = Claims(
    promise_id="w.1:1",
    callback="run-1",
    audience="machine",
    subject="job 7",
    outcomes=("succeeded",),
    expires_at=4_000_000_000,
)
SETTLED = Settled(
    outcome=Outcome(kind="succeeded", callback="run-1", by="callback", body='{"secret": 1}'),
    ikey="k",
    delivery="d",
    settled_at=1_800_000_000_123,
)


def document(response: Response) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(bytes(response.body))
    return shown


def test_it_names_the_callback_and_when_it_was_settled_and_nothing_that_was_delivered() -> None:
    response = settled_response(CLAIMS, SETTLED, duplicate=False)

    assert response.status_code == 200
    assert document(response) == {
        "state": "settled",
        "duplicate": False,
        "callback": "run-1",
        "settled_at": "2027-01-15T08:00:00.123Z",
    }


@pytest.mark.parametrize("duplicate", [False, True])
def test_its_schema_has_the_same_members(*, duplicate: bool) -> None:
    schema = schemas()["Settled"]
    shown = document(settled_response(CLAIMS, SETTLED, duplicate=duplicate))

    assert shown.keys() == schema["properties"].keys() == set(schema["required"])
    assert shown["state"] == schema["properties"]["state"]["const"]
