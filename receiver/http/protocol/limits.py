"""What a connection waits for, and until when.

| it waits for | until | then |
|---|---|---|
| a head: the first, or one that has begun | `head_seconds`; 64 KB, 200 lines | 408, or 431; closed |
| the same, where only blank lines came after an answer | `head_seconds` | closed |
| the next request | `idle_seconds` after the last answer | closed |
| the application, which also reads the body | its own: 30 s for a body, the engine's timeout, `Prefer` | it answers |
| the rest of a body whose request was answered | `rest_seconds` after the answer; `rest_bytes` | closed |
| the client to take what was sent to it | `unsent_seconds` after the network took no more | cut |
| the client to close, after a last answer | `rest_seconds` after it was taken; `rest_bytes` | closed |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a connection waits, in seconds, and how much it throws away, in bytes; the table above says for what.

    `idle_seconds` is longer than the proxies of scripts/deploy keep an idle connection, so that they never send a
    request into one that is about to close.
    """

    head_seconds: float = 30
    idle_seconds: float = 75
    rest_seconds: float = 5
    rest_bytes: int = 1024 * 1024
    unsent_seconds: float = 30


LIMITS: Final = Limits()
