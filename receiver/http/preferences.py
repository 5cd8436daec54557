"""What a client prefers: a page or JSON (`Accept`), a response at once or after a wait (`Prefer`).

Neither header is ever refused. One that cannot be parsed is ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_WAIT: Final = re.compile(r"""wait\s*=\s*("?)(\d{1,6})\1""", re.ASCII | re.IGNORECASE)
_QUALITY: Final = re.compile(r"q\s*=\s*([01](?:\.\d{0,3})?)", re.ASCII | re.IGNORECASE)
_LONGEST_WAIT: Final = 30


def wait_seconds(prefer: Sequence[str]) -> int:
    """Return the seconds that `Prefer: wait=N` asks for (RFC 7240), at most 30; 0 if it asks for none."""
    for header in prefer:
        for preference in header.split(","):
            match = _WAIT.fullmatch(preference.partition(";")[0].strip())

            if match is not None:
                return min(int(match[2]), _LONGEST_WAIT)

    return 0


def prefers_page(accept: Sequence[str]) -> bool:
    """Return whether `text/html` is named and has a higher quality than JSON (RFC 9110, 12.4.2), as in browsers.

    Of two with the same quality the first one wins. Ranges such as `*/*` name neither.
    """
    ranks: dict[str, tuple[float, int]] = {}

    for place, offer in enumerate(",".join(accept).lower().split(",")):
        media_type, *parameters = (part.strip() for part in offer.split(";"))
        quality = next((float(found[1]) for each in parameters if (found := _QUALITY.fullmatch(each))), 1.0)
        ranks.setdefault(media_type, (quality, -place))

    page = ranks.get("text/html", (0.0, 0))

    return page[0] > 0 and page > ranks.get("application/json", (0.0, 0))
