"""What schemathesis needs to know beyond the OpenAPI document; it loads this file in a process of its own."""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis
from hypothesis import strategies as st

_NUMBERS = itertools.count(1)

#: Addresses as people have them. Which others exist, no schema can say.
schemathesis.openapi.format("email", st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8})?@[a-z]{1,8}\.example", fullmatch=True))


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: Any) -> None:
    """Send each request from another address, so that wrong tokens do not slow down the others.

    A request with its token in the path has no second one in a header.
    """
    number = next(_NUMBERS)
    twice = {"authorization"} if "{token}" in case.operation.path else set()

    for headers in (case.headers, kwargs.get("headers")):
        for name in [each for each in headers or () if each.lower() in twice]:
            del headers[name]

    case.headers = {
        **(case.headers or {}),
        "X-Forwarded-For": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
    }
