"""The `Idempotency-Key` header: a client's own name for a request that it may send again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from receiver.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


def idempotency_key(values: Sequence[str]) -> str | None:
    """Return the key in the `Idempotency-Key` headers `values`, None if there is no such header.

    Raises:
        Problem: `invalid-key` if the header is repeated, or is not 1 to 255 visible ASCII characters.
    """
    if not values:
        return None

    if len(values) > 1 or _KEY.fullmatch(values[0]) is None:
        raise Problem("invalid-key", "There must be one Idempotency-Key of 1 to 255 visible ASCII characters.")

    return values[0]
