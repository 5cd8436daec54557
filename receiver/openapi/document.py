"""The OpenAPI 3.1 description of the receiver, at `/openapi.json`.

It is public, so it says only what the contract says. It is written by hand, as plain values: the routes must follow the
contract, and a document that is generated from the code would repeat the code's mistakes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from orchestrator.callbacks.claims import PATHS
from receiver.openapi.by_hand import by_hand_paths
from receiver.openapi.callbacks import callback_paths
from receiver.openapi.lists import list_paths, list_schemas
from receiver.openapi.operation import KEY_PROBLEMS, operation
from receiver.openapi.pages import approval_path
from receiver.openapi.parts import (
    AFTER,
    PREFER,
    SCHEMAS,
    SOURCE,
    START_KEY,
    STEPS,
    TOKEN,
    WORKFLOW_ID,
    json_response,
    ref,
    started,
)
from receiver.openapi.parts import schemas as shared_schemas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from receiver.http.problems import ProblemName
    from receiver.openapi.parts import Json


_METHODS: Final = frozenset({"get", "put", "post", "delete"})

#: The headings of the document, by the first part of a path.
_TAGS: Final = {
    "workflows": "Workflows",
    "waits": "Workflows",
    "callbacks": "Callbacks",
    PATHS["approver"].strip("/"): "Approvals",
    "webhooks": "Webhooks",
}


class Described(Protocol):
    """What the document needs to know about a workflow; a workflow's definition provides it."""

    @property
    def name(self) -> str:
        """The name in the path."""

    @property
    def summary(self) -> str:
        """One sentence."""

    @property
    def request(self) -> type[BaseModel]:
        """The model of its input."""


def document(workflows: Iterable[Described], *, public_path: str = "", version: str = "0.1.0") -> Json:
    """Return the OpenAPI document for these workflows, served below this path."""
    schemas = shared_schemas() | list_schemas()
    paths: Json = {
        **callback_paths(),
        f"{PATHS['approver']}/{{token}}": approval_path(),
        **_webhook_paths(),
        **list_paths(),
        **_workflow_paths(sorted(workflows, key=lambda known: known.name), schemas),
        **_operation_paths(),
    }

    for path, item in paths.items():
        for method in item.keys() & _METHODS:
            item[method]["tags"] = [_TAGS.get(path.split("/")[1], "Operations")]

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Countersign",
            "version": version,
            "summary": "Durable workflows that wait for signed callbacks.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": public_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "callbackToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A callback token, minted for one wait. It may be in the path instead.",
                },
                "progressToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The `countersign-progress` header of a callback's description.",
                },
                "apiKey": {"type": "http", "scheme": "bearer", "description": "A key of the workflow API."},
            },
        },
    }


def _webhook_paths() -> Json:
    places: tuple[tuple[str, str, list[Json]], ...] = (
        ("/webhooks/{source}", "A third-party delivery, signed as the source is set up", [SOURCE]),
        ("/webhooks/{source}/{token}", "The same, for the wait of this token", [SOURCE, TOKEN]),
    )
    return {
        path: {
            "post": operation(
                "deliver_with_token" if len(parameters) > 1 else "deliver",
                summary,
                {"200": json_response("Accepted, a duplicate, ignored, or for a wait that is over.", ref("Taken"))},
                (
                    "malformed-body",
                    "bad-token",
                    "two-tokens",
                    "repeated-signature",
                    "invalid-signature",
                    "unknown-source",
                    "rate-limited",
                    "engine-unavailable",
                ),
                parameters=parameters,
                body={},
            )
        }
        for path, summary, parameters in places
    }


def _workflow_paths(workflows: Iterable[Described], schemas: Json) -> Json:
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
    shown = json_response("The workflow's state.", ref("Workflow"))
    known: tuple[ProblemName, ...] = (*KEY_PROBLEMS, "unknown-workflow", "engine-unavailable")
    named = (*known, "invalid-id")
    starting: Json = {
        "responses": {"201": started("Started."), "200": started("It had been started before.")},
        "security": security,
        "body": {"anyOf": list(inputs.values())},
    }
    refused: tuple[ProblemName, ...] = ("forbidden", "malformed-body", "id-reused", "invalid-input")
    return {
        "/workflows/{name}": {
            "parameters": [name],
            "post": operation(
                "start_unnamed_workflow",
                "Start a workflow under an id that the service chooses; the body is its input",
                problems=(*known, "not-found", *refused, "unsupported-media-type", "invalid-key"),
                parameters=[PREFER, START_KEY],
                **starting,
            ),
        },
        "/workflows/{name}/{id}": {
            "parameters": [name, WORKFLOW_ID],
            "put": operation(
                "start_workflow",
                "Start a workflow, once per id; the body is its input",
                problems=(*named, *refused, "unsupported-media-type"),
                parameters=[PREFER],
                **starting,
            ),
            "get": operation(
                "show_workflow",
                "Show a workflow's state",
                {"200": {**shown, "content": {**shown["content"], "text/html": {"schema": {"type": "string"}}}}},
                (*named, "unknown-id"),
                security=security,
                parameters=[PREFER, STEPS, AFTER],
            ),
            "delete": operation(
                "cancel_workflow",
                "Cancel a workflow; has no effect on one that is over",
                {"202": json_response("The cancellation is requested.", ref("Workflow"))},
                (*named, "forbidden", "unknown-id"),
                security=security,
            ),
        },
        **by_hand_paths([name, WORKFLOW_ID], named),
    }


def _add_input(workflow: Described, schemas: Json) -> Json:
    """Add the schema of a workflow's input, and the schemas that it refers to; return a reference to it."""
    schema = workflow.request.model_json_schema(ref_template=f"{SCHEMAS}{workflow.name}.{{model}}")
    for name, part in schema.pop("$defs", {}).items():
        schemas[f"{workflow.name}.{name}"] = part

    schemas[f"{workflow.name}.input"] = schema
    return ref(f"{workflow.name}.input")


def _operation_paths() -> Json:
    alive = json_response("The process is alive.", {"type": "object"})
    ready = json_response("The engine responds.", {"type": "object"})
    this = json_response("This document.", {"type": "object"})
    metrics = {"description": "The metrics in the Prometheus text format.", "content": {"text/plain": {}}}
    return {
        "/healthz": {"get": operation("alive", "Whether the process is alive", {"200": alive})},
        "/readyz": {
            "get": operation("ready", "Whether the engine responds", {"200": ready}, ("engine-unavailable",)),
        },
        "/metrics": {
            "get": operation("metrics", "Metrics", {"200": metrics}, KEY_PROBLEMS, security=[{"apiKey": []}]),
        },
        "/openapi.json": {"get": operation("openapi", "This document", {"200": this})},
    }
