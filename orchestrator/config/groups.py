"""The name of a worker group. It has no upper case, because a Resonate server lower-cases the address that holds it."""

from __future__ import annotations

import re
from typing import Final

DEFAULT_GROUP: Final = "default"

_GROUP: Final = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)


def is_group_name(text: str) -> bool:
    """Return whether a worker group can have this name: 1 to 64 of `a-z0-9_-`."""
    return _GROUP.fullmatch(text) is not None
