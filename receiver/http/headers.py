"""Headers of all responses, whether the application, a refusal or the connection itself makes them."""

from __future__ import annotations

from typing import Final

#: On every response; they replace its own headers of the same names.
ALWAYS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

#: On everything but our pages: if a browser shows it, it loads nothing, is in no frame and does not leak its address.
NO_PAGE: Final = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
