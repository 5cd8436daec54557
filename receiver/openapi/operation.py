"""One operation of the OpenAPI document: what it responds, which problems it may have, and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver.openapi.parts import problem_responses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.http.problems import ProblemName
    from receiver.openapi.parts import Json

#: The problems of every request that needs an API key.
KEY_PROBLEMS: Final[tuple[ProblemName, ...]] = ("unauthorized", "rate-limited")

_TRANSPORT: Final[tuple[ProblemName, ...]] = ("too-large", "headers-too-large", "request-timeout", "internal-error")


def operation(  # noqa: PLR0913 - the parts of an operation
    name: str,
    summary: str,
    responses: Json,
    problems: Iterable[ProblemName] = (),
    *,
    security: list[Json] | None = None,
    parameters: list[Json] | None = None,
    body: Json | None = None,
    body_required: bool = True,
) -> Json:
    """Return an operation in JSON. It has these problems and those of every request; a `body` is the schema of one."""
    described: Json = {
        "operationId": name,
        "summary": summary,
        "responses": responses | problem_responses((*problems, *_TRANSPORT)),
        "security": security or [],
    }
    if parameters:
        described["parameters"] = parameters

    if body is not None:
        described["requestBody"] = {"required": body_required, "content": {"application/json": {"schema": body}}}

    return described
