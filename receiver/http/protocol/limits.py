"""What a connection waits for, and for how long.

| it waits for | until | then |
|---|---|---|
| a head: the first, or one that has begun | `head_seconds`; 64 KB, 200 lines | 408, or 431; closed |
| a head, if only blank lines came after a response | `head_seconds` | closed |
| the next request | `idle_seconds` after the last response | closed |
| the application, which also reads the body | its own: 30 s for a body, the engine's timeout, `Prefer` | responds |
| the rest of a body after the response | `rest_seconds` after the response; `rest_bytes` | closed |
| the client to receive what was sent | `unsent_seconds` after the network took no more | dropped |
| the client to close, after a last response | `rest_seconds` after it was received; `rest_bytes` | closed |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a connection waits, in seconds, and how much it discards, in bytes; the table above says for what.

    `idle_seconds` is longer than the proxies of scripts/deploy keep an idle connection, so that they never send a
    request on a connection that is about to be closed.
    """

    head_seconds: float = 30
    idle_seconds: float = 75
    rest_seconds: float = 5
    rest_bytes: int = 1024 * 1024
    unsent_seconds: float = 30


LIMITS: Final = Limits()
