"""Headers that responses carry whoever makes them: an application, a refusal, or the connection itself."""

from __future__ import annotations

from typing import Final

#: On every response, in place of what it says itself.
ALWAYS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

#: What is no page of ours loads nothing, is in no frame and tells nobody its address, should a browser show it.
NO_PAGE: Final = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
