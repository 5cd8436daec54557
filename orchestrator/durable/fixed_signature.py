"""The signature of a function that the SDK always calls with the same number of positional arguments.

The SDK binds the arguments anew for each call. Python's own way of doing that is made for any signature: it was 25 of
the 800 function calls that a start took.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, override

if TYPE_CHECKING:
    from collections.abc import Sequence


class FixedSignature(inspect.Signature):
    """Binds as many positional arguments as there are parameters at once, and everything else as Python does."""

    def __init__(self, parameters: Sequence[inspect.Parameter] | None = None, **options: Any) -> None:
        super().__init__(parameters, **options)
        self._names = tuple(self.parameters)

    @classmethod
    def of(cls, *names: str) -> FixedSignature:
        """Return the signature of a function with these parameters."""
        return cls([inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names])

    @override
    def bind(self, *args: Any, **kwargs: Any) -> inspect.BoundArguments:
        if kwargs or len(args) != len(self._names):
            return super().bind(*args, **kwargs)

        return _Bound(self, dict(zip(self._names, args, strict=True)))


class _Bound(inspect.BoundArguments):
    @property
    @override
    def args(self) -> tuple[Any, ...]:
        return tuple(self.arguments.values())

    @property
    @override
    def kwargs(self) -> dict[str, Any]:
        return {}

    @override
    def apply_defaults(self) -> None:
        pass
