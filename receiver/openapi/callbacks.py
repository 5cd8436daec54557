"""What machines report, as the OpenAPI document describes it: results, failures, and how far they have come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.callbacks.claims import PATHS
from receiver.openapi.operation import operation
from receiver.openapi.parts import IKEY, PROOF, TOKEN, json_response, object_of, ref

if TYPE_CHECKING:
    from receiver.openapi.parts import Json

#: Headers of a callback's description.
_DESCRIBED: Final[Json] = {
    "countersign-progress": {
        "description": "While the wait is open: the token for `/callbacks/progress`.",
        "schema": {"type": "string"},
    },
    "traceparent": {
        "description": "Where traces are on: the trace of the workflow that waits.",
        "schema": {"type": "string"},
    },
}
_PROGRESS: Final[Json] = {
    **object_of(
        {
            "fraction": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "message": {"description": "Shown on the page of the run.", "type": "string"},
        },
        (),
    ),
    "additionalProperties": False,
}
_RECORDED: Final[Json] = object_of(
    {
        "callback": {"type": "string"},
        "next_in": {"description": "In how many seconds the next report is recorded.", "type": "number"},
    }
)


def callback_paths() -> Json:
    """Return the paths under `/callbacks`."""
    paths: Json = {}
    places: tuple[tuple[str, list[Json], list[Json]], ...] = (
        (PATHS["machine"], [], [{"callbackToken": []}]),
        (f"{PATHS['machine']}/{{token}}", [TOKEN], []),
    )
    for path, parameters, security in places:
        where = "in_path" if parameters else "bearer"
        paths[path] = {
            "get": operation(
                f"show_callback_{where}",
                "Describe this callback; settles nothing",
                {"200": {**json_response("The callback.", ref("Callback")), "headers": _DESCRIBED}},
                ("invalid-token", "rate-limited", "two-tokens", "unknown-promise", "expired", "engine-unavailable"),
                security=security,
                parameters=parameters,
            ),
            "post": _settling(f"succeed_{where}", "Report a success; the body is the result", {}, security, parameters),
        }
        paths[f"{path}/failure"] = {
            "post": _settling(
                f"fail_{where}", "Report a failure; the body says why", ref("Failure"), security, parameters
            )
        }

    return {**paths, PATHS["progress"]: {"post": _progress()}}


def _settling(name: str, summary: str, body: Json, security: list[Json], parameters: list[Json]) -> Json:
    return operation(
        name,
        summary,
        {
            "200": json_response(
                "Settled, by this request or by an earlier one with the same key and outcome.", ref("Settled")
            )
        },
        (
            "two-tokens",
            "invalid-key",
            "malformed-body",
            "invalid-token",
            "invalid-proof",
            "unknown-promise",
            "already-settled",
            "expired",
            "unsupported-media-type",
            "ikey-reused",
            "rate-limited",
            "engine-unavailable",
        ),
        security=security,
        parameters=[*parameters, IKEY, *PROOF],
        body=body,
    )


def _progress() -> Json:
    return operation(
        "report_progress",
        "Say how far the job has come, with the progress token; settles nothing",
        {"200": json_response("Recorded, or ignored because it came too early.", _RECORDED)},
        (
            "malformed-body",
            "invalid-token",
            "unknown-promise",
            "expired",
            "unsupported-media-type",
            "rate-limited",
            "engine-unavailable",
        ),
        security=[{"progressToken": []}],
        body=_PROGRESS,
    )
