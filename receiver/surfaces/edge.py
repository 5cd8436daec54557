"""What all surfaces share. The application creates it once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.callbacks.tokens import TokenSigner
    from orchestrator.engine import Engine
    from receiver.http.bad_tokens import BadTokens
    from receiver.http.telemetry import Metrics


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What the surfaces share. A body may have at most `max_body` bytes; `clock` returns seconds since the epoch.

    `workspace` is the address of the Databricks workspace as it was configured, None if there is none.
    """

    engine: Engine
    signer: TokenSigner
    metrics: Metrics
    bad_tokens: BadTokens
    max_body: int
    clock: Callable[[], float] = time.time
    workspace: str | None = None
