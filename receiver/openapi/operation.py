"""One operation of the OpenAPI document: a method of a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.openapi.parts import problem_responses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.http.problems import ProblemName
    from receiver.openapi.parts import Json

_TRANSPORT: Final[tuple[ProblemName, ...]] = ("too-large", "headers-too-large", "request-timeout", "internal-error")

#: The problems of every request that needs an API key.
KEY_PROBLEMS: Final[tuple[ProblemName, ...]] = ("unauthorized", "rate-limited")


def operation(  # noqa: PLR0913 - the parts of an operation
    name: str,
    summary: str,
    responses: Json,
    problems: Iterable[ProblemName] = (),
    *,
    security: list[Json] | None = None,
    parameters: list[Json] | None = None,
    body: Json | None = None,
) -> Json:
    """Return one operation. Every operation can have the problems of the transport, besides its own."""
    made: Json = {
        "operationId": name,
        "summary": summary,
        "responses": responses | problem_responses((*problems, *_TRANSPORT)),
        "security": security or [],
    }
    if parameters:
        made["parameters"] = parameters

    if body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}

    return made
