"""The named parts of the OpenAPI document: the schemas of requests and responses, the parameters, the headers.

They are plain values, so that they can be compared with the contract. This file knows no route and no workflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from receiver.http.problems import MEDIA_TYPE, PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from receiver.http.problems import ProblemName

type Json = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"

STATES: Final = ("running", "succeeded", "failed", "expired", "cancelled")


#: What an answer that was given by hand says beyond others.
BY_HAND: Final[Json] = {
    "by": {"description": "`operator` for an answer that was given by hand.", "type": "string"},
    "operator": {"description": "The name of the operator's API key.", "type": "string"},
    "reason": {"description": "Why the operator answered.", "type": "string"},
}


def schemas() -> Json:
    """Return the schemas that are the same for every receiver; the caller adds the inputs of its workflows."""
    moment = {"type": "string", "format": "date-time"}
    text = {"type": "string"}
    workflow = {
        "workflow": text,
        "id": text,
        "state": {"enum": list(STATES)},
        "result": {"description": "What the workflow returned, if it succeeded."},
        "error": object_of({"message": text}, ("message",)),
    }
    step = {
        "id": text,
        "name": text,
        "state": {"enum": list(STATES)},
        "started_at": moment,
        "ended_at": {**moment, "type": ["string", "null"]},
    }
    reminders = {
        "description": "The last reminders that operators asked for by hand.",
        "type": "array",
        "items": object_of({"at": moment, "by": text, "reason": text}),
    }
    a_try = object_of(
        {
            "number": {"type": "integer"},
            "at": moment,
            "error": {"description": "The error's type and where it was raised.", "type": "string"},
            "next_at": {**moment, "type": ["string", "null"]},
        }
    )
    tried = {
        "description": "The last failed tries of a step that has not ended or has failed.",
        "type": "array",
        "items": a_try,
    }
    steps = {
        "steps": {"type": "array", "items": ref("Step")},
        "truncated": {"description": "There are more steps; request those `after` the step in `next`.", "const": True},
        "next": text,
        "held_up": {
            "description": "The workflow's code was changed and no longer fits its record. It goes on under code that "
            "fits.",
            **a_try,
        },
    }
    settled = {
        "description": "How a wait ended, and who ended it.",
        **object_of({"outcome": text, "note": text, **BY_HAND}, ("outcome", "by")),
    }
    later = {
        "description": "For a job that its run may answer: an answer that came after the one that counts.",
        **object_of({"outcome": text, "message": text, **BY_HAND}, ("outcome", "by")),
    }
    approval = {
        "description": "For the wait of a question to people: what was asked, who was asked, what was decided.",
        **object_of(
            {
                "title": text,
                "digest": {"description": "The SHA-256 of what was shown, as in the links.", "type": "string"},
                "people": {"type": "array", "items": text},
                "until": moment,
                "answer": {
                    "type": ["object", "null"],
                    "properties": {
                        "decision": text,
                        "person": {"type": ["string", "null"]},
                        "comment": text,
                        "digest": text,
                        "client": {"description": "The client's address.", "type": ["string", "null"]},
                        "at": moment,
                        **BY_HAND,
                    },
                },
            }
        ),
    }
    other = object_of({"workflow": text, "id": text}, ("workflow", "id"))
    parent = {"description": "The workflow that started this one as a sub-workflow.", **other}
    child = {"description": "The sub-workflow that the step runs.", **other}
    progress = {
        "description": "For a wait: what the job that is waited for has last said of its progress.",
        **object_of({"fraction": {"type": ["number", "null"]}, "message": text, "at": moment}),
    }
    again = {
        "description": "The run whose input this one was started again with, by which API key, and why.",
        **object_of({"of": other, "by": text, "reason": text}),
    }
    required = ("workflow", "id", "state")
    return {
        "Callback": object_of(
            {"callback": text, "state": {"enum": ["pending", "settled", "expired"]}, "expires_at": moment}
        ),
        "Failure": {**object_of({"message": text, "details": {}}, ("message",)), "additionalProperties": False},
        "Settled": object_of(
            {"state": {"const": "settled"}, "duplicate": {"type": "boolean"}, "callback": text, "settled_at": moment}
        ),
        "Workflow": object_of({**workflow, "parent": parent, "again": again, **steps}, required),
        "Started": object_of({**workflow, "created": {"type": "boolean"}}, (*required, "created")),
        "Step": object_of(
            {
                **step,
                "approval": approval,
                "settled": settled,
                "later": later,
                "reminders": reminders,
                "child": child,
                "progress": progress,
                "tries": tried,
            },
            tuple(step),
        ),
        "Taken": {
            "anyOf": [
                ref("Settled"),
                object_of({"state": {"const": "over"}, "callback": text}),
                object_of({"state": {"enum": ["ignored", "prompted"]}}),
                object_of({"workflow": text, "id": text, "created": {"type": "boolean"}}),
                object_of({"challenge": text}),
            ]
        },
        "Problem": object_of(
            {"type": text, "title": text, "status": {"type": "integer"}, "detail": text}, ("type", "title", "status")
        ),
    }


def started(description: str) -> Json:
    """Return the response to a start. Its links lead to what can be done with the workflow under its id."""
    place = {"name": "$response.body#/workflow", "id": "$response.body#/id"}
    links = {name: {"operationId": f"{name}_workflow", "parameters": place} for name in ("show", "cancel")}
    location = {"description": "The path of the workflow.", "schema": {"type": "string", "format": "uri-reference"}}

    return {**json_response(description, ref("Started")), "headers": {"Location": location}, "links": links}


def ref(name: str) -> Json:
    """Return a reference to a schema."""
    return {"$ref": f"{SCHEMAS}{name}"}


def json_response(description: str, schema: Json) -> Json:
    """Return a response in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problem_responses(names: Iterable[ProblemName]) -> Json:
    """Return the responses for these problems, by status."""
    by_status: dict[int, list[ProblemName]] = {}
    for name in names:
        by_status.setdefault(PROBLEMS[name][0], []).append(name)

    responses: Json = {}
    for status, same in sorted(by_status.items()):
        kinds = {"type": "object", "properties": {"type": {"enum": [f"urn:countersign:{name}" for name in same]}}}
        responses[str(status)] = {
            "description": " or ".join(f"`{name}`: {PROBLEMS[name][1]}." for name in same),
            "headers": RESPONSE_HEADERS.get(status, {}),
            "content": {MEDIA_TYPE: {"schema": {"allOf": [ref("Problem"), kinds]}}},
        }

    return responses


def object_of(properties: Mapping[str, Any], required: Iterable[str] | None = None) -> Json:
    """Return the schema of an object with these properties. All are required unless it is said which are."""
    names = list(properties if required is None else required)
    return {"type": "object", "properties": dict(properties), "required": names}


RESPONSE_HEADERS: Final[dict[int, Json]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
    503: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
}
TOKEN: Final[Json] = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}
SOURCE: Final[Json] = {
    "name": "source",
    "in": "path",
    "required": True,
    "description": "The source's name in the operator's settings.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}
WORKFLOW_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The caller chooses it; a workflow is started once per id.",
    "schema": {"type": "string", "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._:+@-]{1,128}$"},
}
IKEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Identifies the delivery within its promise; derived from the token if it is not sent.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
START_KEY: Final[Json] = {
    **IKEY,
    "description": "Identifies the start: the same key gives the same id. Without it, every request gets a new one.",
}
PROOF: Final[tuple[Json, ...]] = tuple(
    {
        "name": name,
        "in": "header",
        "description": f"Standard Webhooks; required if the operator has set caller secrets. {what}",
        "schema": schema,
    }
    for name, what, schema in (
        (
            "webhook-id",
            "What the proof is for: kind of report, first 32 hex digits of the SHA-256 of the token, and a nonce.",
            {"type": "string", "pattern": "^(succeeded|failed)_[0-9a-f]{32}_[A-Za-z0-9_-]{16,64}$"},
        ),
        ("webhook-timestamp", "Seconds since the epoch, at most 300 seconds from now.", {"type": "string"}),
        ("webhook-signature", "`v1,` and the HMAC-SHA256 of `ID.TIMESTAMP.BODY` in base64.", {"type": "string"}),
    )
)
PREFER: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N` holds the response until the workflow ends, for N seconds at most (N up to 30).",
    "schema": {"type": "string"},
}
STEPS: Final[Json] = {
    "name": "steps",
    "in": "query",
    "description": "1 adds the durable call graph, 2000 steps at a time.",
    "schema": {"type": "string", "examples": ["1"]},
}
AFTER: Final[Json] = {
    "name": "after",
    "in": "query",
    "description": "The id of a step: only the steps after it are returned.",
    "schema": {"type": "string"},
}
