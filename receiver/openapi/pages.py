"""The approval pages in the OpenAPI document. They are for browsers, so errors are pages and not problem documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from receiver.openapi.parts import Json


def approval_path() -> Json:
    """Return the path item of `/approvals/{token}`."""
    page = {"text/html": {"schema": {"type": "string"}}}
    statuses = {
        "400": "The decision is not one of the possible ones, or the form is malformed.",
        "403": "The post came from another site, or the code was wrong.",
        "404": "The link is not valid.",
        "409": "Another decision is recorded already; the page says which and when.",
        "410": "The question expired, timed out or was withdrawn.",
        "413": "The form is too long.",
        "415": "The body is not a form.",
        "422": "This decision needs a reason; the page has the form as it was filled in.",
        "429": "Too many invalid links came from this address.",
        "503": "The engine did not answer in time; trying again is safe.",
    }
    fields = {"decision": {"type": "string"}, "comment": {"type": "string"}, "code": {"type": "string"}}
    form = {"type": "object", "properties": fields, "required": ["decision"]}

    def pages(*chosen: str) -> Json:
        return {status: {"description": statuses[status], "content": page} for status in chosen}

    return {
        "parameters": [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}],
        "get": {
            "operationId": "show_approval",
            "summary": "Show the question as a page, or what was decided; settles nothing",
            "parameters": [
                {
                    "name": "choose",
                    "in": "query",
                    "description": "A decision to highlight on the page. It is a hint and decides nothing.",
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
            "summary": "Record a person's decision, from the page's own form",
            "requestBody": {
                "required": True,
                "content": {"application/x-www-form-urlencoded": {"schema": form}},
            },
            "responses": {
                "303": {"description": "Recorded, now or before; redirects to the page."},
                **pages(*statuses),
            },
            "security": [],
        },
    }
