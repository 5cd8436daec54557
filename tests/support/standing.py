"""The official webhook libraries with their clocks stopped: they read the time themselves and take none as a parameter.

With a clock that goes on, a request of 299 seconds ago is one of 300 seconds ago before the library has looked at it.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo


@contextlib.contextmanager
def libraries_at(moment: float) -> Iterator[None]:
    """Let Stripe's library and that of Standard Webhooks, which is Svix's too, take this for now."""

    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Standing:
            return cls.fromtimestamp(moment, tz)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stripe._webhook.time", SimpleNamespace(time=lambda: moment))
        patch.setattr("standardwebhooks.webhooks.datetime", Standing)
        yield
