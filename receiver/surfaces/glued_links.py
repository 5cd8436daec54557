"""Links with something glued to their end: a full stop, a bracket or a quote that a mail program took for part of them.

Nothing is verified here: whether what remains is a token, only the signer can say.
"""

from __future__ import annotations

import re
from typing import Final

#: Punctuation and spaces, also as HTML or percent-encoded twice. No token ends in any of these, `_` and `-` included.
_GLUE: Final = re.compile(
    r"""(?:
      [\s\u200b-\u200d\u2060\ufeff.,;:!?<>()\[\]{}"'`*_~=|\\/^-]
    | [\u2026\u00b4\u2018-\u201f\u00ab\u00bb\u2039\u203a]
    | &(?:gt|lt|quot|apos|amp|nbsp|\#\d{1,4});
    | %(?:2[0279CEF]|3[BCE]|5[BD]|60|7[BD])
    )+\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST: Final = 64


def without_glue(text: str) -> str | None:
    """Return the text without what is glued to its end, None if nothing is. Only the last 64 characters count."""
    found = _GLUE.search(text, max(0, len(text) - _LONGEST))

    return None if found is None else text[: found.start()]
