"""What operators do by hand, as the OpenAPI document describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.by_hand.answering import MAX_REASON
from receiver.openapi.operation import operation
from receiver.openapi.parts import IKEY, json_response, object_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.http.problems import ProblemName
    from receiver.openapi.parts import Json

_TEXT: Final[Json] = {"type": "string"}

_CALLBACK: Final[Json] = {
    "name": "callback",
    "in": "path",
    "required": True,
    "description": "The callback's name, as the workflow gave it. Of several waits with it, the open one is meant.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
_KEY: Final[Json] = {
    **IKEY,
    "description": "Identifies the answer among those of this API key; derived from its content if it is not sent.",
}
#: A character that is no space, control characters that count as one included.
_VISIBLE: Final = r"[^\s\x1c-\x1f\x85]"
_REASON: Final[Json] = {"type": "string", "minLength": 1, "maxLength": MAX_REASON, "pattern": _VISIBLE}

_ANSWER: Final[Json] = {
    **object_of(
        {
            "outcome": {"description": "One that the wait allows.", **_TEXT},
            "reason": {"description": "Why you answer; recorded with the name of your key.", **_REASON},
            "body": {"description": "The result, the failure, or the comment of a decision; anything in JSON."},
            "step": {"description": "The id of the wait's step, if not any open one is meant.", **_TEXT},
        },
        ("outcome", "reason"),
    ),
    "additionalProperties": False,
}

_ANSWERED: Final[Json] = object_of(
    {
        "workflow": _TEXT,
        "id": _TEXT,
        "callback": _TEXT,
        "step": _TEXT,
        "state": {"const": "settled"},
        "duplicate": {"type": "boolean"},
        "settled_at": {"type": "string", "format": "date-time"},
    }
)

#: The problems of everything that is done by hand about a wait.
_PROBLEMS: Final[tuple[ProblemName, ...]] = (
    *("forbidden", "unknown-id", "unknown-callback", "already-settled", "expired"),
    *("invalid-input", "malformed-body", "unsupported-media-type"),
)


_REMINDER: Final[Json] = {
    **object_of(
        {
            "reason": {
                "description": "Why you remind them; recorded with the name of your key.",
                "type": "string",
                "maxLength": MAX_REASON,
            },
            "step": _ANSWER["properties"]["step"],
        },
        (),
    ),
    "additionalProperties": False,
}

_REMINDED: Final[Json] = object_of(
    {
        "workflow": _TEXT,
        "id": _TEXT,
        "callback": _TEXT,
        "reminder": {"description": "How many reminders by hand there were, with this one.", "type": "integer"},
        "at": {"type": "string", "format": "date-time"},
    }
)


def by_hand_paths(parameters: Sequence[Json], problems: Sequence[ProblemName]) -> Json:
    """Return the paths below a workflow with these parameters; `problems` are those of every workflow."""
    return {
        "/workflows/{name}/{id}/callbacks/{callback}": {
            "parameters": [*parameters, _CALLBACK],
            "post": operation(
                "answer_by_hand",
                "Answer an open wait by hand; recorded with the name of the API key and the reason",
                {"200": json_response("Recorded, by this request or by an equal earlier one.", _ANSWERED)},
                (*problems, *_PROBLEMS, "invalid-key", "ikey-reused"),
                security=[{"apiKey": []}],
                parameters=[_KEY],
                body=_ANSWER,
            ),
        },
        "/workflows/{name}/{id}/callbacks/{callback}/remind": {
            "parameters": [*parameters, _CALLBACK],
            "post": operation(
                "remind_by_hand",
                "Mail the people of an open question their links again, at most once a minute",
                {"202": json_response("The reminder is requested.", _REMINDED)},
                (*problems, *_PROBLEMS),
                security=[{"apiKey": []}],
                body=_REMINDER,
                body_required=False,
            ),
        },
    }
