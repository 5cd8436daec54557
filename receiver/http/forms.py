"""Forms that browsers post: read with a limit, parsed strictly, and accepted only from the receiver's own pages.

A cross-origin post is refused before its body is read. Unknown fields are ignored; a known field that is given twice
is refused, because either value could be meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from receiver.http.bodies import UTF8, read_body
from receiver.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
_PARAMETERS: Final = UTF8 | {""}
_LARGEST: Final = 64 * 1024
_MOST_FIELDS: Final = 100
_OURS: Final = frozenset({"same-origin", "none"})
_PORTS: Final = {"http": 80, "https": 443}


async def read_form(request: Request, names: Sequence[str], *, limit: int) -> dict[str, str]:
    """Return those of the named fields that a urlencoded form has.

    Raises:
        Problem: `unsupported-media-type`, `malformed-body`, and what `read_body` raises.
    """
    _require_form(request)
    data = await read_body(request, limit=min(limit, _LARGEST))

    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Problem("malformed-body", "The form is not UTF-8, or has too many fields.") from None

    given = [(name, value) for name, value in pairs if name in names]
    fields = dict(given)

    if len(fields) < len(given):
        raise Problem("malformed-body", "A field is given twice.")

    return fields


def is_same_origin(request: Request, origin: str) -> bool:
    """Whether a post may come from one of our pages at this origin, as far as the browser says.

    `Sec-Fetch-Site` decides if it is sent, because a page without a referrer makes browsers send `Origin: null`. A
    client that sends neither header is not a browser, so no other site can make it post.
    """
    sites = request.headers.getlist("sec-fetch-site")

    if sites:
        return all(site in _OURS for site in sites)

    return all(_same(each, origin) for each in request.headers.getlist("origin"))


def _same(one: str, other: str) -> bool:
    try:
        return _parts(one) == _parts(other)
    except ValueError:
        return False


def _parts(origin: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(origin)

    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _require_form(request: Request) -> None:
    headers = request.headers
    types = headers.getlist("content-type")

    if any(encoding.strip().lower() != "identity" for encoding in headers.getlist("content-encoding")):
        raise Problem("unsupported-media-type", "No Content-Encoding is supported.")

    media_type, *parameters = (part.strip().lower() for part in ", ".join(types).split(";"))

    if media_type != _MEDIA_TYPE or any(parameter not in _PARAMETERS for parameter in parameters):
        raise Problem("unsupported-media-type", f"The Content-Type must be {_MEDIA_TYPE}, in UTF-8.")
