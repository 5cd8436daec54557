"""The operator's JMESPath expressions, applied to bodies from third parties: compiled once, and they never crash.

This is the only file that imports jmespath. The library notices an unknown function, or a wrong number of arguments,
only when it evaluates the call. Here the whole expression is checked when it is compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: What the library is known to raise for data that does not fit an expression; its own errors are ValueErrors too.
_MISFITS: Final = (JMESPathError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


class Misfit(ValueError):
    """The expression cannot be applied to this value. The message does not quote the value."""


class Expression:
    """One compiled expression."""

    def __init__(self, text: str) -> None:
        """Compile it.

        Raises:
            ValueError: it does not compile. The message says why and may quote the expression.
        """
        try:
            self._compiled: Final[Any] = jmespath.compile(text)
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        except (JMESPathError, ValueError) as error:
            raise ValueError(" ".join(str(error).split())) from None

        _check_functions(self._compiled.parsed)

    def find(self, value: object) -> Any:
        """Return what the expression finds in a JSON value, None if it finds nothing.

        Raises:
            Misfit: a function in the expression does not accept its arguments.
        """
        try:
            return self._compiled.search(value)
        except _MISFITS:
            raise Misfit("the expression does not fit the value") from None  # the original quotes the value


def _check_functions(node: Mapping[str, Any]) -> None:
    for call in _calls(node):
        name, given = call["value"], len(call["children"])

        if name not in Functions.FUNCTION_TABLE:
            raise ValueError(f"calls {name}(), which does not exist")

        parameters = Functions.FUNCTION_TABLE[name]["signature"]
        variadic = bool(parameters) and parameters[-1].get("variadic", False)

        if given < len(parameters) or (given > len(parameters) and not variadic):
            raise ValueError(f"calls {name}() with {given} arguments")


def _calls(node: object) -> Iterator[Mapping[str, Any]]:
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if part.get("type") == "function_expression":
                yield part

            pending.extend(part.get("children", ()))
        elif isinstance(part, list):
            pending.extend(part)
