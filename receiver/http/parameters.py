"""The parameters in a request's query, read strictly: what is misspelt or malformed is refused, and named.

A filter that is ignored would show more than was asked for, and nobody would notice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.text.times import microseconds
from receiver.http.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.requests import Request

_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
#: What may be repeated of a name that is not known. It may be anything, a token included.
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]{1,24}", re.ASCII)


class Parameters:
    """The parameters of one request. Each may be there once.

    Raises:
        Problem: `invalid-parameter` for one that has another name or is repeated, as for every method here.
    """

    def __init__(self, request: Request, names: Collection[str]) -> None:
        self._values: dict[str, str] = {}

        for name, value in request.query_params.multi_items():
            if name not in names:
                known = ", ".join(f"`{each}`" for each in names)
                shown = name if _PLAIN_NAME.fullmatch(name) is not None else "?"

                raise invalid(shown, f"is not known here. The parameters are {known}.")

            if name in self._values:
                raise invalid(name, "is given more than once.")

            self._values[name] = value

    def text(self, name: str, *, longest: int) -> str | None:
        """Return the text of this parameter, None if it is not there. It is not empty."""
        value = self._values.get(name)

        if value is not None and not 1 <= len(value) <= longest:
            raise invalid(name, f"must have 1 to {longest} characters.")

        return value

    def word(self, name: str, fits: Callable[[str], bool], rule: str) -> str | None:
        """Return the text of this parameter if it fits the rule, None if it is not there."""
        value = self._values.get(name)

        if value is not None and not fits(value):
            raise invalid(name, f"must be {rule}.")

        return value

    def one_of[Choice: str](self, name: str, choices: Collection[Choice]) -> Choice | None:
        """Return the choice that this parameter names, None if it is not there."""
        value = self._values.get(name)

        if value is None:
            return None

        for choice in choices:
            if choice == value:
                return choice

        raise invalid(name, f"must be one of {', '.join(choices)}.")

    def number(self, name: str, *, usual: int, most: int) -> int:
        """Return the number of this parameter, 1 to `most`; `usual` if it is not there."""
        value = self._values.get(name, str(usual))

        if _NUMBER.fullmatch(value) is None or not 1 <= int(value) <= most:
            raise invalid(name, f"must be a number from 1 to {most}.")

        return int(value)

    def moment(self, name: str) -> int | None:
        """Return the moment of this parameter in microseconds since the epoch, None if it is not there."""
        value = self._values.get(name)

        if value is None:
            return None

        try:
            return microseconds(value)
        except ValueError:
            # A plus sign that is not encoded arrives as a space.
            raise invalid(
                name, "must be a time such as 2026-11-21T08:00:00Z (RFC 3339), with `+` written as %2B."
            ) from None


def invalid(name: str, rule: str) -> Problem:
    """Return the refusal of a parameter, which names it and says what it must be."""
    return Problem("invalid-parameter", f"The parameter `{name}` {rule}", parameter=name)
