"""Steps: async functions `(ctx, ...)` whose results a workflow keeps.

A step is checked before it takes a place in its workflow's record. The SDK takes the place first, and a place that is
taken and never filled would make every later step wait forever.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, overload, runtime_checkable

from resonate.durable import DurableFunction
from resonate.error import ApplicationError, SerializationError

from orchestrator.durable.policy import TRIES, Policy, policy_of
from orchestrator.errors import Misdefined, Misused
from orchestrator.sdk_internals import as_written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta
    from typing import Concatenate

    from resonate.context import Context as SDKContext

_LONGEST_NAME: Final = 64
_LONGEST_STEP_NAME: Final = 128


@runtime_checkable
class NotAStep(Protocol):
    """Something that an author may take for a step. `instead` says how it is called."""

    @property
    def instead(self) -> str:
        """What it is and how it is called, for the end of a sentence."""


@dataclass(frozen=True, kw_only=True)
class Step[**Parameters, Result]:
    """A step with a policy of its own. `await ctx.run(step, ...)` runs it; called directly it is the plain function."""

    body: Callable[Concatenate[Any, Parameters], Awaitable[Result]]
    name: str
    policy: Policy = field(default_factory=Policy)
    stored: bool = True
    #: Its result decides nothing, so a record of another step may be in its place.
    any_record: bool = False

    def __call__(self, ctx: SDKContext, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Awaitable[Result]:
        """Return the step's coroutine, as the plain function does: one try, and nothing is recorded."""
        return self.body(ctx, *args, **kwargs)

    @cached_property
    def _function(self) -> DurableFunction:
        return DurableFunction(self.body)

    def check_takes_ctx(self) -> None:
        """Return if the step's function takes `ctx`.

        Raises:
            Misused: it does not.
        """
        try:
            _ = self._function
        except ApplicationError:
            raise Misused(f"the step {self.name} must take ctx as its first parameter") from None

    def check_arguments(self, *args: Any, **kwargs: Any) -> None:
        """Return if the step can be called with these arguments after `ctx`.

        Raises:
            Misused: it cannot; names the step and the parameter.
        """
        try:
            self._function.pack_args(*args, **kwargs)
        except ApplicationError as error:
            told = str(error).removeprefix(f"{self._function.name}: ")
            taken = ", ".join(list(inspect.signature(self.body).parameters)[1:]) or "nothing"

            raise Misused(f"the step {self.name} takes {taken} after ctx: {_shown(told, kwargs)}") from None

    def read_result(self, value: Any) -> Any:
        """Return the step's result as its workflow gets it, made from the stored JSON value.

        Raises:
            Misused: the value does not fit the annotation of the result.
        """
        if self._function.return_type is Any:
            return value

        try:
            return self._function.coerce_result(value)
        except SerializationError as error:
            annotation = inspect.formatannotation(inspect.signature(self.body).return_annotation).strip("'")

            raise Misused(f"the result of {self.name} does not fit its annotation {annotation}") from error

    def check_result(self, result: object) -> None:
        """Return if the result, which JSON can hold, can be read back.

        Raises:
            Misused: as for `read_result`.
        """
        if self._function.return_type is not Any:
            self.read_result(as_written(result))


type _Body[**Parameters, Result] = Callable[Concatenate[Any, Parameters], Awaitable[Result]]


@overload
def step[**Parameters, Result](body: _Body[Parameters, Result], /) -> Step[Parameters, Result]: ...


@overload
def step[**Parameters, Result](
    *,
    tries: int = TRIES,
    never_retry: tuple[type[BaseException], ...] = (),
    timeout: timedelta | float | None = None,
    stored: bool = True,
    name: str | None = None,
) -> Callable[[_Body[Parameters, Result]], Step[Parameters, Result]]: ...


def step(  # noqa: PLR0913 - one policy, all of it named
    body: Callable[..., Any] | None = None,
    /,
    *,
    tries: int = TRIES,
    never_retry: tuple[type[BaseException], ...] = (),
    timeout: timedelta | float | None = None,
    stored: bool = True,
    name: str | None = None,
) -> Any:
    """Give an async function `(ctx, ...)` a policy as a step of a workflow. A plain function has the defaults.

    `tries` counts all tries, the first one included. Errors of the types in `never_retry` end the step at once, and so
    do `TypeError`, `NameError` and `AttributeError`. `timeout`, a timedelta or seconds, limits one try: a try that
    takes longer is cancelled and has failed.

    With `stored=False` nothing of the step is kept: each replay of its workflow runs it again, failed tries included,
    and it may return what JSON cannot hold. Use it for what is cheap to repeat and always gives the same.

    `name` is what the step is recorded as, by default the function's name: give the old one when you rename a function
    while workflows are open. `@step` without parentheses has the defaults.

    Raises:
        Misdefined: the function cannot be a step, or a value is out of range.
    """
    policy = policy_of("a step", tries=tries, never_retry=never_retry, timeout=timeout)
    is_named = isinstance(name, str) and name.isprintable() and 0 < len(name.strip()) <= len(name) <= _LONGEST_STEP_NAME

    if name is not None and not is_named:
        raise Misdefined(f"`name` of a step is 1 to {_LONGEST_STEP_NAME} printable characters, not {str(name)[:40]!r}")

    def define(body: Callable[..., Any]) -> Step[..., Any]:
        check_body(body, Misdefined)
        defined = Step(body=body, name=name_of(body) if name is None else name, policy=policy, stored=stored)

        try:
            defined.check_takes_ctx()
        except Misused as error:
            raise Misdefined(str(error)) from None

        return defined

    return define if body is None else define(body)


def as_step(given: object) -> Step[..., Any]:
    """Return what a workflow passed to `ctx.run` as a step with its policy.

    Raises:
        Misused: it is not a step; says what it is and what is needed instead.
    """
    if isinstance(given, Step):
        return given

    is_lasting = inspect.isfunction(given) and "<locals>" not in given.__qualname__

    return _known(given) if is_lasting else _defined(given)


def _defined(given: object) -> Step[..., Any]:
    check_body(given, Misused)
    body = cast("Callable[..., Awaitable[Any]]", given)
    found = Step(body=body, name=name_of(body))
    found.check_takes_ctx()

    return found


#: Looking at a signature takes longer than the rest of a step's start. Functions inside functions may hold much memory.
_known = lru_cache(maxsize=1024)(_defined)


def check_body(given: object, error: type[Misdefined | Misused]) -> None:
    """Return if this is an async function; raise `error` otherwise, with a text that says what it is."""
    if isinstance(given, NotAStep):
        raise error(f"{name_of(given)} {given.instead}")

    if isinstance(given, Step):
        raise error(f"{given.name} is a step already: give it its policy in one @step")

    if inspect.iscoroutine(given):
        # Python would warn that nobody awaited it.
        given.close()
        name = given.__name__

        raise error(f"pass the step {name} itself, with its arguments after it: {name}(...) has called it already")

    if isinstance(given, str) or not callable(given):
        raise error(f"a step is an async function that takes ctx first, not {_named(given)}")

    if inspect.isasyncgenfunction(given) or inspect.isgeneratorfunction(given):
        raise error(f"the step {name_of(given)} must be an async function that returns its result; it yields")

    if not _is_async(given):
        raise error(f"the step {name_of(given)} must be an async function: async def {_definable(name_of(given))}(ctx)")


def awaitable(name: str, result: Any) -> Awaitable[Any]:
    """Return what the function of a step gave, which is its coroutine.

    Raises:
        Misused: it is not; a decorator over an async function can hide that.
    """
    if not inspect.isawaitable(result):
        raise Misused(f"the step {name} must be an async function; calling it gave no coroutine")

    return result


def name_of(given: object) -> str:
    """Return what a step, or anything given for one, is called."""
    inner = getattr(given, "func", given)  # of a functools.partial
    name = getattr(inner, "__name__", None) or getattr(inner, "name", None)

    return name if isinstance(name, str) else type(inner).__name__


def _is_async(given: Callable[..., Any]) -> bool:
    if inspect.iscoroutinefunction(given):
        # A decorator may make an async function of a plain one.
        return True

    plain = inspect.unwrap(given)

    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(getattr(plain, "__call__", None))  # noqa: B004 - of an object


def _definable(name: str) -> str:
    return name if name.isidentifier() else "step"


def _named(given: object) -> str:
    return f"the name {given!r}" if isinstance(given, str) else f"an object of the type {type(given).__name__}"


def kind_of(given: object) -> str:
    """Return what sort of object was given, for the end of a sentence."""
    return "None" if given is None else f"an object of the type {type(given).__name__}"


def _shown(told: str, kwargs: dict[str, Any]) -> str:
    """Return Python's text on arguments that do not fit. A keyword that cannot be from code is left out of it."""
    strange = [name for name in kwargs if not name.isidentifier() or len(name) > _LONGEST_NAME]

    return "an argument has a name that no parameter can have" if strange else told
