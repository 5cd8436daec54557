"""Every refusal of the HTTP edge: RFC 9457 problem documents, by name.

A handler raises `Problem`, and the table of exception handlers turns it into a response. This file refuses to put the
text of an unexpected exception into a response or a log, because it may quote a body or a token. The log has only the
exception's type and where in our code it was raised.
"""

from __future__ import annotations

import http
import json
import logging
from typing import TYPE_CHECKING, Final, Literal, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from orchestrator.text.crashes import describe_crash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from receiver.http.routing import ErrorHandler

logger = logging.getLogger(__name__)

ProblemName = Literal[
    "already-settled",
    "bad-token",
    "engine-unavailable",
    "expired",
    "forbidden",
    "headers-too-large",
    "id-reused",
    "ikey-reused",
    "internal-error",
    "invalid-id",
    "invalid-input",
    "invalid-key",
    "invalid-parameter",
    "invalid-proof",
    "invalid-signature",
    "invalid-token",
    "malformed-body",
    "method-not-allowed",
    "not-found",
    "rate-limited",
    "repeated-signature",
    "request-timeout",
    "too-large",
    "two-tokens",
    "unauthorized",
    "unknown-callback",
    "unknown-id",
    "unknown-promise",
    "unknown-source",
    "unknown-workflow",
    "unsupported-media-type",
]

#: The status and title of each name. Clients rely on the names: they are added, never changed.
PROBLEMS: Final[Mapping[ProblemName, tuple[int, str]]] = {
    "two-tokens": (400, "A token was given in two places"),
    "invalid-key": (400, "The idempotency key is not usable"),
    "invalid-parameter": (400, "A parameter in the query is not usable"),
    "malformed-body": (400, "The body is not what was expected"),
    "bad-token": (400, "The signed delivery names no wait of ours"),
    "repeated-signature": (400, "A header that the signature needs is repeated"),
    "invalid-token": (401, "The token is not valid here"),
    "invalid-proof": (401, "The caller's proof does not hold"),
    "invalid-signature": (401, "The signature does not hold"),
    "unauthorized": (401, "A valid API key is needed"),
    "forbidden": (403, "This API key may not do this"),
    "not-found": (404, "There is nothing here"),
    "unknown-promise": (404, "The engine holds no such promise"),
    "unknown-source": (404, "There is no such source"),
    "unknown-workflow": (404, "There is no such workflow"),
    "unknown-id": (404, "There is no workflow of this id"),
    "unknown-callback": (404, "There is no such callback in this workflow"),
    "method-not-allowed": (405, "This method is not allowed here"),
    "request-timeout": (408, "The request was not received in time"),
    "already-settled": (409, "Somebody else settled it"),
    "id-reused": (409, "This id was used with another input"),
    "expired": (410, "The time to answer is over"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body must be application/json, not encoded"),
    "ikey-reused": (422, "This key was used with another outcome"),
    "invalid-id": (422, "This is not a usable id"),
    "invalid-input": (422, "The input does not fit this workflow"),
    "rate-limited": (429, "This was tried too often; wait before you try it again"),
    "headers-too-large": (431, "Too many headers, or too large ones"),
    "internal-error": (500, "Something went wrong here"),
    "engine-unavailable": (503, "The engine did not answer in time"),
}

#: What a problem says unless the place that raises it says more.
_DETAILS: Final[Mapping[ProblemName, str]] = {
    "unauthorized": (
        "Send an API key in the header `Authorization: Bearer KEY`. `countersign keys` prints a new key, and the line "
        "for COUNTERSIGN_API_KEYS with which this service accepts it."
    ),
}

MEDIA_TYPE: Final = "application/problem+json"

#: The headers of a status, unless the problem replaces them. The connection is closed after 408 and 431, because the
#: rest of that request is not read.
HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "Bearer"},
    408: {"Connection": "close"},
    429: {"Retry-After": "60"},
    431: {"Connection": "close"},
    503: {"Retry-After": "2"},
}


class Problem(Exception):
    """The refusal of a request, by one of the names in `PROBLEMS`.

    `detail` is a sentence for the caller and must not quote the request; some problems have one of their own. Other
    keywords become members of the document.
    `headers` replace the headers of the status, name by name.
    """

    def __init__(
        self,
        name: ProblemName,
        detail: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(name)
        self.name = name
        self.status, self.title = PROBLEMS[name]
        self.detail = _DETAILS.get(name) if detail is None else detail
        self.headers = {**HEADERS.get(self.status, {}), **(headers or {})}
        self.members = members

    def document(self) -> dict[str, object]:
        """Return the RFC 9457 document."""
        document: dict[str, object] = {
            "type": f"urn:countersign:{self.name}",
            "title": self.title,
            "status": self.status,
        }
        if self.detail is not None:
            document["detail"] = self.detail

        return document | {name: value for name, value in self.members.items() if name not in document}

    def response(self) -> Response:
        """Return the document as a response."""
        plain = self.detail == _DETAILS.get(self.name) and not self.members
        body = _PLAIN[self.name] if plain else _encode(self.document())
        return Response(body, self.status, self.headers, MEDIA_TYPE)


async def _problem(_request: Request, error: Exception) -> Response:
    return cast("Problem", error).response()


async def _http_exception(_request: Request, error: Exception) -> Response:
    """Respond to what the framework itself refuses, with a problem document and the framework's headers (`Allow`)."""
    refused = cast("HTTPException", error)
    headers = dict(refused.headers or {})
    if refused.status_code == http.HTTPStatus.NOT_FOUND:
        return Problem("not-found", headers=headers).response()

    if refused.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = sorted(filter(None, headers.pop("Allow", "").split(", ")))
        return Problem("method-not-allowed", headers={**headers, "Allow": ", ".join(allowed)}).response()

    status = http.HTTPStatus(refused.status_code)
    body = _encode({"type": "about:blank", "title": status.phrase, "status": status.value})
    return Response(body, status, headers, MEDIA_TYPE)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    """Return an empty response: nobody is there to read it, and only the metrics see its status."""
    return Response(status_code=CLIENT_GONE)


async def _crash(_request: Request, error: Exception) -> Response:
    logger.error("a request failed: %s", describe_crash(error))
    return Problem("internal-error").response()


#: The status in logs and metrics for a client that disconnected before the response.
CLIENT_GONE: Final = 499

exception_handlers: Final[Mapping[type[Exception], ErrorHandler]] = {
    Problem: _problem,
    HTTPException: _http_exception,
    ClientDisconnect: _client_gone,
    Exception: _crash,
}


def _encode(document: Mapping[str, object]) -> bytes:
    return _ENCODER.encode(document).encode()


_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

#: Prepared bodies: refusing must be cheap, and most refusals have no members of their own.
_PLAIN: Final[Mapping[ProblemName, bytes]] = {name: _encode(Problem(name).document()) for name in PROBLEMS}
