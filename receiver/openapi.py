"""The OpenAPI 3.1 description of the receiver, at `/openapi.json`.

Public, so it says only what the contract says. Written out by hand as plain values: the contract is the source, the
routes follow it, and a document derived from code would follow the code's mistakes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from receiver.problems import MEDIA_TYPE, PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pydantic import BaseModel

    from receiver.problems import ProblemName

type Json = dict[str, Any]
Group = Literal["callbacks", "workflows", "operations"]

ALL_GROUPS: Final[tuple[Group, ...]] = ("callbacks", "workflows", "operations")

_TRANSPORT: Final[tuple[ProblemName, ...]] = ("too-large", "headers-too-large", "request-timeout", "internal-error")
_STATES: Final = ("running", "succeeded", "failed", "expired", "cancelled")
_SCHEMAS: Final = "#/components/schemas/"


class Described(Protocol):
    """What the document needs to know of a workflow; a definition of a workflow is one."""

    @property
    def name(self) -> str:
        """The name in the path."""

    @property
    def summary(self) -> str:
        """One sentence."""

    @property
    def request(self) -> type[BaseModel]:
        """The model of its input."""


def document(workflows: Iterable[Described], *, groups: Collection[Group] = ALL_GROUPS, version: str = "0.1.0") -> Json:
    """Return the OpenAPI document for these workflows and the groups of routes that this receiver serves."""
    schemas = _schemas()
    paths: Json = {}
    if "callbacks" in groups:
        paths |= _callback_paths()

    if "workflows" in groups:
        paths["/workflows/{name}/{id}"] = _workflow_path(sorted(workflows, key=lambda known: known.name), schemas)

    if "operations" in groups:
        paths |= _operation_paths()

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Countersign",
            "version": version,
            "summary": "Durable workflows that wait for signed callbacks.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "callbackToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A callback token, minted for one wait; may stand in the path instead.",
                },
                "apiKey": {"type": "http", "scheme": "bearer", "description": "A key of the workflow API."},
            },
        },
    }


def _callback_paths() -> Json:
    token = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}
    paths: Json = {}
    places: tuple[tuple[str, list[Json], list[Json]], ...] = (
        ("/callbacks", [], [{"callbackToken": []}]),
        ("/callbacks/{token}", [token], []),
    )
    for path, parameters, security in places:
        where = "in_path" if parameters else "bearer"
        paths[path] = {
            "get": _operation(
                f"show_callback_{where}",
                "What this callback is; settles nothing",
                {"200": _json("The callback.", _ref("Callback"))},
                ("invalid-token", "rate-limited", "two-tokens", "unknown-promise", "engine-unavailable"),
                security=security,
                parameters=parameters,
            ),
            "post": _settling(f"succeed_{where}", "It succeeded; the body is the result", {}, security, parameters),
        }
        paths[f"{path}/failure"] = {
            "post": _settling(f"fail_{where}", "It failed; the body says why", _ref("Failure"), security, parameters)
        }

    return paths


def _settling(name: str, summary: str, body: Json, security: list[Json], parameters: list[Json]) -> Json:
    return _operation(
        name,
        summary,
        {"200": _json("Settled, by this request or by an earlier one of the same key and outcome.", _ref("Settled"))},
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
        parameters=[*parameters, _IKEY, *_PROOF],
        body=body,
    )


def _workflow_path(workflows: Iterable[Described], schemas: Json) -> Json:
    inputs: Json = {workflow.name: _add_input(workflow, schemas) for workflow in workflows}
    summaries = "".join(f"\n* `{workflow.name}`: {workflow.summary}" for workflow in workflows)
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "description": f"The workflow.{summaries}",
        "schema": {"type": "string", "enum": list(inputs)},
    }
    security: list[Json] = [{"apiKey": []}]
    shown = _json("Where it stands.", _ref("Workflow"))
    known: tuple[ProblemName, ...] = ("unauthorized", "unknown-workflow", "invalid-id", "engine-unavailable")
    return {
        "parameters": [name, _ID],
        "put": _operation(
            "start_workflow",
            "Start it, once per id; the body is its input",
            {"201": _json("Started.", _ref("Started")), "200": _json("It was there already.", _ref("Started"))},
            (*known, "malformed-body", "unsupported-media-type", "id-reused", "invalid-input"),
            security=security,
            parameters=[_PREFER],
            body={"anyOf": list(inputs.values())},
        ),
        "get": _operation(
            "show_workflow",
            "Where it stands",
            {"200": {**shown, "content": {**shown["content"], "text/html": {"schema": {"type": "string"}}}}},
            (*known, "unknown-id"),
            security=security,
            parameters=[_PREFER, _STEPS],
        ),
        "delete": _operation(
            "cancel_workflow",
            "Cancel it; without effect on one that is over",
            {"202": _json("Asked for.", _ref("Workflow"))},
            (*known, "unknown-id"),
            security=security,
        ),
    }


def _add_input(workflow: Described, schemas: Json) -> Json:
    """Add the schema of a workflow's input, and those it refers to; return a reference to it."""
    schema = workflow.request.model_json_schema(ref_template=f"{_SCHEMAS}{workflow.name}.{{model}}")
    for name, part in schema.pop("$defs", {}).items():
        schemas[f"{workflow.name}.{name}"] = part

    schemas[f"{workflow.name}.input"] = schema
    return _ref(f"{workflow.name}.input")


def _operation_paths() -> Json:
    alive = _json("It is.", {"type": "object"})
    metrics = {"description": "In the Prometheus text format.", "content": {"text/plain": {}}}
    return {
        "/healthz": {"get": _operation("alive", "Whether the process lives", {"200": alive})},
        "/readyz": {
            "get": _operation("ready", "Whether the engine answers", {"200": alive}, ("engine-unavailable",)),
        },
        "/metrics": {
            "get": _operation("metrics", "Metrics", {"200": metrics}, ("unauthorized",), security=[{"apiKey": []}]),
        },
        "/openapi.json": {"get": _operation("openapi", "This document", {"200": alive})},
    }


def _operation(  # noqa: PLR0913 the parts of an operation
    name: str,
    summary: str,
    answers: Json,
    problems: Iterable[ProblemName] = (),
    *,
    security: list[Json] | None = None,
    parameters: list[Json] | None = None,
    body: Json | None = None,
) -> Json:
    operation: Json = {
        "operationId": name,
        "summary": summary,
        "responses": answers | _problem_answers((*problems, *_TRANSPORT)),
        "security": security or [],
    }
    if parameters:
        operation["parameters"] = parameters

    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}

    return operation


def _problem_answers(names: Iterable[ProblemName]) -> Json:
    by_status: dict[int, list[ProblemName]] = {}
    for name in names:
        by_status.setdefault(PROBLEMS[name][0], []).append(name)

    answers: Json = {}
    for status, same in sorted(by_status.items()):
        kinds = {"type": "object", "properties": {"type": {"enum": [f"urn:countersign:{name}" for name in same]}}}
        answers[str(status)] = {
            "description": " or ".join(f"`{name}`: {PROBLEMS[name][1]}." for name in same),
            "headers": _HEADERS.get(status, {}),
            "content": {MEDIA_TYPE: {"schema": {"allOf": [_ref("Problem"), kinds]}}},
        }

    return answers


def _schemas() -> Json:
    moment = {"type": "string", "format": "date-time"}
    text = {"type": "string"}
    workflow = {
        "workflow": text,
        "id": text,
        "state": {"enum": list(_STATES)},
        "result": {"description": "What it returned, once it succeeded."},
        "error": _object({"message": text}, ("message",)),
    }
    step = {
        "id": text,
        "name": text,
        "state": {"enum": list(_STATES)},
        "started_at": moment,
        "ended_at": {**moment, "type": ["string", "null"]},
    }
    required = ("workflow", "id", "state")
    return {
        "Callback": _object(
            {"callback": text, "state": {"enum": ["pending", "settled", "expired"]}, "expires_at": moment}
        ),
        "Failure": {**_object({"message": text, "details": {}}, ("message",)), "additionalProperties": False},
        "Settled": _object(
            {"state": {"const": "settled"}, "duplicate": {"type": "boolean"}, "callback": text, "settled_at": moment}
        ),
        "Workflow": _object({**workflow, "steps": {"type": "array", "items": _ref("Step")}}, required),
        "Started": _object({**workflow, "created": {"type": "boolean"}}, (*required, "created")),
        "Step": _object(step),
        "Problem": _object(
            {"type": text, "title": text, "status": {"type": "integer"}, "detail": text}, ("type", "title", "status")
        ),
    }


def _object(properties: Mapping[str, Any], required: Iterable[str] | None = None) -> Json:
    names = list(properties if required is None else required)
    return {"type": "object", "properties": dict(properties), "required": names}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Json:
    return {"$ref": f"{_SCHEMAS}{name}"}


_HEADERS: Final[dict[int, Json]] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    429: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    503: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
}
_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Chosen by the caller; a workflow is started once per id.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
}
_IKEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the delivery within its promise; derived from the token where it is not sent.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_PROOF: Final[tuple[Json, ...]] = tuple(
    {
        "name": name,
        "in": "header",
        "description": "Standard Webhooks; needed where the operator asks for the caller's proof.",
        "schema": {"type": "string"},
    }
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
)
_PREFER: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N` holds the answer for up to N seconds, at most 30, for the workflow to end.",
    "schema": {"type": "string"},
}
_STEPS: Final[Json] = {
    "name": "steps",
    "in": "query",
    "description": "1 adds the durable call graph.",
    "schema": {"const": "1"},
}
