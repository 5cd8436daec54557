"""The official webhook libraries with their clocks stopped: they read the time themselves, not from a parameter.

With a running clock, a request of 299 seconds ago can be one of 300 seconds ago by the time the library checks it.
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
    """Stop the clocks of Stripe's library and of the Standard Webhooks library, which Svix uses too, at this moment."""

    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Standing:
            return cls.fromtimestamp(moment, tz)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stripe._webhook.time", SimpleNamespace(time=lambda: moment))
        patch.setattr("standardwebhooks.webhooks.datetime", Standing)
        yield
