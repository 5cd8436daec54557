"""Request bodies: read with a limit and a deadline, then parsed as strict JSON.

The server passes bodies on as they arrive and does not limit their size, so every byte is counted here. Nothing is
ever decompressed, guessed or repaired.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect

from orchestrator.text.strict_json import loads_strict
from receiver.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.types import Receive

#: Seconds within which the whole body must arrive.
READ_SECONDS: Final = 30.0

#: The extension of an ASGI scope by which our server says that the whole body has arrived. Reading it then waits for
#: nothing and needs no deadline.
BODY_ARRIVED: Final = "countersign.body-arrived"

#: The parameters that declare UTF-8, in lower case; `utf8` is not registered, but common.
UTF8: Final = frozenset({"charset=utf-8", 'charset="utf-8"', "charset=utf8", 'charset="utf8"'})

#: Bodies up to this size are parsed on the event loop: that takes at most a few milliseconds, and a thread costs more.
INLINE_BYTES: Final = 64 * 1024


class JsonBody(msgspec.Struct, frozen=True, kw_only=True):
    """A body that was strict JSON: the `text` as it was sent, and its `value`."""

    text: str
    value: object


def check_declared(length: bytes, limit: int) -> bool:
    """Return whether a Content-Length announces a body that is not empty.

    Raises:
        Problem: `malformed-body` if it is not a number, `too-large` if it is over `limit`.
    """
    if not length.isdigit():
        raise Problem("malformed-body", "The Content-Length is not a number.", {"Connection": "close"})

    # The number of digits is compared first: int() of a million digits is slow, and Python refuses it.
    digits = length.lstrip(b"0")
    if len(digits) > len(str(limit)) or int(digits or b"0") > limit:
        # A body far over the limit is not received just to be discarded: the connection is closed.
        raise too_large(limit, close=len(digits) > len(str(limit)) + 1)

    return bool(digits)


def too_large(limit: int, *, close: bool = False) -> Problem:
    """Return the refusal of a body over `limit` bytes; `close` ends the connection instead of reading the rest."""
    return Problem("too-large", f"A body may have at most {limit} bytes.", {"Connection": "close"} if close else None)


async def receive_body(receive: Receive, *, limit: int, seconds: float = READ_SECONDS) -> bytes:
    """Return the whole body of an ASGI request, counted as it arrives.

    Raises:
        Problem: `too-large` as soon as more than `limit` bytes arrived, `request-timeout` if the end did not arrive
            within `seconds`.
        ClientDisconnect: the client disconnected before the end, so nobody is there to respond to.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _receive_body(receive, limit)

    except TimeoutError:
        raise Problem("request-timeout", f"The body did not arrive within {seconds:g} seconds.") from None


async def _receive_body(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0

    while True:
        message = await receive()

        if message["type"] == "http.disconnect":
            raise ClientDisconnect

        chunk: bytes = message.get("body", b"")
        size += len(chunk)

        if size > limit:
            raise too_large(limit)

        if chunk:
            chunks.append(chunk)

        if not message.get("more_body", False):
            return b"".join(chunks)


async def read_body(request: Request, *, limit: int, seconds: float = READ_SECONDS) -> bytes:
    """Return the request's whole body; a declared length over `limit` is refused before anything is read.

    Raises what `receive_body` raises. Call it once per request: the bytes are not kept.
    """
    declared = request.headers.get("content-length")
    if declared is not None:
        check_declared(declared.encode("latin-1"), limit)

    if BODY_ARRIVED in request.scope.get("extensions", ()):
        return await _receive_body(request.receive, limit)

    return await receive_body(request.receive, limit=limit, seconds=seconds)


def parse_json(data: bytes) -> object:
    """Return the value of a strict JSON text, or raise `Problem("malformed-body")`, which does not quote it."""
    try:
        return loads_strict(data)
    except ValueError as error:
        reason = str(error)
        raise Problem("malformed-body", f"{reason[:1].upper()}{reason[1:]}.") from None


async def json_body(request: Request, *, limit: int, seconds: float = READ_SECONDS) -> JsonBody:
    """Return the request's body as strict JSON.

    Raises:
        Problem: what `unparsed_json` raises, then `malformed-body`.
        ClientDisconnect: as `receive_body`.
    """
    return await read_json(await unparsed_json(request, limit=limit, seconds=seconds))


async def optional_json_body(request: Request, *, limit: int, seconds: float = READ_SECONDS) -> JsonBody | None:
    """Return the request's body as strict JSON, or None if it has neither a body nor a Content-Type.

    Raises what `json_body` raises.
    """
    if request.headers.getlist("content-type"):
        return await json_body(request, limit=limit, seconds=seconds)

    if await read_body(request, limit=limit, seconds=seconds):
        raise Problem("unsupported-media-type", "There must be exactly one Content-Type, application/json.")

    return None


async def unparsed_json(request: Request, *, limit: int, seconds: float = READ_SECONDS) -> bytes:
    """Return the bytes of a body that is declared as JSON, so that a signature can be checked before `read_json`.

    Raises:
        Problem: `unsupported-media-type` before anything is read, then what `read_body` raises.
        ClientDisconnect: as `receive_body`.
    """
    headers = request.headers
    _require_json(headers.getlist("content-type"), headers.getlist("content-encoding"))

    return await read_body(request, limit=limit, seconds=seconds)


async def read_json(data: bytes) -> JsonBody:
    """Return these bytes as strict JSON, or raise `Problem("malformed-body")`; large ones are parsed in a thread."""
    if len(data) > INLINE_BYTES:
        value = await anyio.to_thread.run_sync(parse_json, data)
    else:
        value = parse_json(data)

    return JsonBody(text=data.decode(), value=value)


def _require_json(content_types: Sequence[str], encodings: Sequence[str]) -> None:
    if content_types == ["application/json"] and not encodings:
        return

    if any(encoding.strip().lower() != "identity" for encoding in encodings):
        raise Problem("unsupported-media-type", "No Content-Encoding is supported.")

    if len(content_types) != 1:
        raise Problem("unsupported-media-type", "There must be exactly one Content-Type, application/json.")

    media_type, *parameters = (part.strip().lower() for part in content_types[0].split(";"))
    if media_type != "application/json":
        raise Problem("unsupported-media-type", "The Content-Type must be application/json.")

    charsets = [parameter for parameter in parameters if parameter.startswith("charset")]

    if any(charset not in UTF8 for charset in charsets):
        raise Problem("unsupported-media-type", "The only supported charset is utf-8.")
