"""The lists in the OpenAPI document: their paths, the parameters in their queries, their pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.openapi.operation import KEY_PROBLEMS, operation
from receiver.openapi.parts import STATES, json_response, object_of, ref

if TYPE_CHECKING:
    from receiver.http.problems import ProblemName
    from receiver.openapi.parts import Json

_PROBLEMS: Final[tuple[ProblemName, ...]] = (
    *KEY_PROBLEMS,
    "invalid-parameter",
    "engine-unavailable",
)


def list_paths() -> Json:
    """Return the paths of the lists."""
    return {
        "/workflows": _list(
            "list_workflows", "List the workflows, the latest start first", "WorkflowPage", _OF_WORKFLOWS
        ),
        "/waits": _list("list_waits", "List the open waits, the oldest first", "WaitPage", _OF_WAITS),
    }


def list_schemas() -> Json:
    """Return the schemas of the pages."""
    moment = {"type": "string", "format": "date-time"}
    text = {"type": "string"}
    named = {"workflow": text, "id": text}
    fault = {"description": "Why the record in the store cannot be relied on.", **text}
    workflow = {
        **named,
        "state": {"enum": list(STATES)},
        "started_at": moment,
        "ended_at": {**moment, "type": ["string", "null"]},
    }
    wait = {
        **named,
        "callback": text,
        "audience": {"enum": ["machine", "approver"]},
        "subject": {"description": "A label for who may answer; of a question, the first of its people.", **text},
        "opened_at": moment,
        "expires_at": moment,
    }
    parent = {"description": "The workflow that started this one as a sub-workflow.", **object_of(named)}
    people = {"description": "Whom a question is put to.", "type": "array", "items": text}

    return {
        "WorkflowPage": _page("workflows", object_of({**workflow, "parent": parent, "fault": fault}, workflow)),
        "WaitPage": _page("waits", object_of({**wait, "title": text, "people": people, "fault": fault}, wait)),
    }


def _list(name: str, summary: str, page: str, parameters: tuple[Json, ...]) -> Json:
    return {
        "get": operation(
            name,
            summary,
            {"200": json_response("A page of the list.", ref(page))},
            _PROBLEMS,
            security=[{"apiKey": []}],
            parameters=list(parameters),
        )
    }


def _page(name: str, row: Json) -> Json:
    following = {"description": "The cursor of the next page, null behind the last one.", "type": ["string", "null"]}
    caveats = {
        "description": "What this engine could not do, or only slowly. Absent if there is nothing to say.",
        "type": "array",
        "items": {"type": "string"},
    }

    return object_of({name: {"type": "array", "items": row}, "next": following, "caveats": caveats}, (name, "next"))


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_NAME: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_MOMENT: Final[Json] = {"type": "string", "format": "date-time"}
_CURSOR: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,1000}$"}
_PAGING: Final[tuple[Json, ...]] = (
    _query("limit", "How many rows a page has at most.", {"type": "integer", "minimum": 1, "maximum": 200}),
    _query("cursor", "The `next` of the page before, with the same filters.", _CURSOR),
)
_OF_WORKFLOWS: Final[tuple[Json, ...]] = (
    _query("name", "Only workflows of this name.", _NAME),
    _query("state", "Only workflows in this state.", {"enum": list(STATES)}),
    _query("since", "Only workflows started at this time or later.", _MOMENT),
    _query("until", "Only workflows started at this time or earlier.", _MOMENT),
    *_PAGING,
)
_OF_WAITS: Final[tuple[Json, ...]] = (
    _query("workflow", "Only waits of workflows of this name.", _NAME),
    _query("audience", "Only waits that a machine answers, or people.", {"enum": ["machine", "approver"]}),
    _query("person", "Only waits that this person may answer.", {"type": "string", "minLength": 1, "maxLength": 320}),
    *_PAGING,
)
