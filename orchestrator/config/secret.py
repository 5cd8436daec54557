"""A value that does not print itself."""

from __future__ import annotations

import hmac
from typing import Final


class Secret:
    """Bytes that are masked wherever they might be printed, and unwrapped with `reveal` where they are used.

    Equality takes constant time. It does not protect against reading the process's memory, and it is deliberately not
    picklable, so that it cannot end in a promise store.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value: Final = value.encode() if isinstance(value, str) else value

    def reveal(self) -> bytes:
        """Return the bytes themselves."""
        return self._value

    def text(self) -> str:
        """Return the bytes as UTF-8 text."""
        return self._value.decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret('****')"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret cannot be pickled")
