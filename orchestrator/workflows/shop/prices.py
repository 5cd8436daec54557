"""What articles cost: a stand-in for a price list, which gives every article a price that never changes."""

from __future__ import annotations

import hashlib
from typing import Final

_CHEAPEST: Final = 100
_RANGE: Final = 9_900

#: From how many pieces on there is a discount of how many per cent, the largest first.
_DISCOUNTS: Final = ((100, 10), (10, 5))


def unit_cents(sku: str) -> int:
    """Return the price of one piece, in cents."""
    return _CHEAPEST + int.from_bytes(hashlib.sha256(sku.encode()).digest()[:4]) % _RANGE


def total_cents(sku: str, quantity: int) -> int:
    """Return the price of `quantity` pieces in cents, less the discount for that quantity, rounded down."""
    off = next((per_cent for least, per_cent in _DISCOUNTS if quantity >= least), 0)

    return unit_cents(sku) * quantity * (100 - off) // 100
