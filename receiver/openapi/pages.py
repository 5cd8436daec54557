"""The approval pages in the OpenAPI document: what a browser asks for and gets, so no problem documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from receiver.openapi.parts import Json


def approval_path() -> Json:
    """Return the path item of `/approvals/{token}`."""
    page = {"text/html": {"schema": {"type": "string"}}}
    statuses = {
        "400": "Not one of the decisions, or not a form.",
        "403": "From another site, or with a wrong code.",
        "404": "Not a valid link.",
        "409": "Decided otherwise already; the page says how and when.",
        "410": "Expired, timed out or withdrawn.",
        "413": "Too long.",
        "415": "Not a form.",
        "429": "Too many bad links from this address.",
        "503": "The engine did not answer in time: not recorded, try again.",
    }
    fields = {"decision": {"type": "string"}, "comment": {"type": "string"}, "code": {"type": "string"}}
    form = {"type": "object", "properties": fields, "required": ["decision"]}

    def pages(*chosen: str) -> Json:
        return {status: {"description": statuses[status], "content": page} for status in chosen}

    return {
        "parameters": [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}],
        "get": {
            "operationId": "show_approval",
            "summary": "The question as a page, or what was decided; settles nothing",
            "parameters": [
                {
                    "name": "choose",
                    "in": "query",
                    "description": "A decision to suggest on the page; a hint, never an action.",
                    "schema": {"type": "string"},
                }
            ],
            "responses": {
                "200": {"description": "The page.", "content": page},
                **pages("404", "410", "429", "503"),
            },
            "security": [],
        },
        "post": {
            "operationId": "decide_approval",
            "summary": "A person's decision, from the page's own form",
            "requestBody": {
                "required": True,
                "content": {"application/x-www-form-urlencoded": {"schema": form}},
            },
            "responses": {
                "303": {"description": "Recorded, now or before; back to the page."},
                **pages(*statuses),
            },
            "security": [],
        },
    }
