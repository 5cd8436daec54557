"""Dependencies: what steps share in one process, such as a pool of connections or a client.

`@dependency` stands over a function that opens one and closes it. A worker opens its dependencies before it takes the
first task and closes them after the last step has ended. One that cannot be opened refuses the start: a worker without
it would only fail its steps. What an error says is not shown, because it may quote an address with a password in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, overload

from orchestrator.durable.group_steps import check_group
from orchestrator.errors import ConfigurationError, CountersignError, DependencyUnusable, Misdefined, Misused
from orchestrator.sdk_internals import provide
from orchestrator.text.crashes import describe_crash, name_of_kind, place_in
from orchestrator.text.redaction import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from resonate.resonate import Resonate

    type Factory[T] = Callable[[], AsyncIterator[T] | AbstractAsyncContextManager[T]]

logger = logging.getLogger(__name__)

#: Seconds that opening one dependency may take.
OPENING: Final = 60.0

#: Seconds that closing all of them may take: a process that was told to stop must end.
CLOSING: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Dependency[T]:
    """A dependency of steps, as a module defines it. `ctx.get_dependency(Type)` in a step returns the object.

    `group` is the worker group whose workers open it, or None for all workers.
    """

    name: str
    module: str
    file: str
    group: str | None
    factory: Callable[[], AbstractAsyncContextManager[T]]
    #: The function as it was decorated.
    source: Callable[..., object]

    def __call__(self) -> AbstractAsyncContextManager[T]:
        """Return a context manager that opens a new object and closes it."""
        return self.factory()

    def gives(self) -> Any:
        """Return the type that steps ask for: what the annotation names. None if it names no type that exists by now.

        Then it is the type of the object itself.
        """
        if inspect.isclass(self.source):
            return self.source

        # Names are looked up late and one by one: the type may be defined below the function, and `AsyncIterator` may
        # be imported for type checkers only.
        written = inspect.unwrap(self.source)
        annotation = getattr(written, "__annotations__", {}).get("return")

        if isinstance(annotation, str):
            _, bracket, inner = annotation.rpartition("]")[0].partition("[")
            annotation = _evaluated(written, inner.removesuffix(", None")) if bracket else None
        else:
            annotation = next(iter(getattr(annotation, "__args__", ())), None)

        return annotation


@overload
def dependency[T](factory: Factory[T], /) -> Dependency[T]: ...
@overload
def dependency(*, group: str | None = None) -> _Decorator: ...
def dependency(factory: Any = None, /, *, group: str | None = None) -> Any:
    """Make what an async context manager factory yields a dependency of steps: `@dependency` or `@dependency(group=)`.

    The factory takes no arguments. It is an async function that yields the object once, opens it before and closes it
    after that, or anything else that returns an async context manager. Its return annotation names the type under which
    steps get the object: `async def orders() -> AsyncIterator[OrderBook]`.

    Each worker opens one object, and with `group` only the workers of that group do. An embedded engine's process works
    for all groups. A worker opens what the modules in COUNTERSIGN_WORKFLOWS define or import, and what the modules of
    their steps do. There is no guarantee that it is closed: a process that is killed closes nothing.

    Raises:
        Misdefined: it is not a factory of an async context manager, it takes arguments, or the group's name is invalid.
    """
    if group is not None:
        check_group(group)

    if factory is not None:
        return _defined(factory, group)

    return lambda given: _defined(given, group)


class _Decorator:
    """What `dependency` returns when it is called with a group; for type checkers."""

    def __call__[T](self, factory: Factory[T], /) -> Dependency[T]:
        """Make the factory a dependency."""
        raise NotImplementedError


def _defined(factory: Any, group: str | None) -> Dependency[Any]:
    name = getattr(factory, "__name__", type(factory).__name__)
    written = inspect.unwrap(factory) if callable(factory) else factory

    if inspect.iscoroutinefunction(factory):
        raise Misdefined(f"the dependency {name} must yield its object, not return it: `yield pool`")

    if not callable(factory) or inspect.isgeneratorfunction(written):
        raise Misdefined(f"the dependency {name} must be an async function that yields: `async def` and `yield pool`")

    if inspect.isclass(factory) and not hasattr(factory, "__aenter__"):
        raise Misdefined(f"the dependency {name} is a class without `__aenter__`: write a function that yields one")

    if any(one.default is one.empty and one.kind in _NEEDED for one in inspect.signature(factory).parameters.values()):
        raise Misdefined(f"the dependency {name} must be callable without arguments")

    return Dependency(
        name=name,
        module=getattr(factory, "__module__", ""),
        file=getattr(getattr(written, "__code__", None), "co_filename", ""),
        group=group,
        factory=asynccontextmanager(factory) if inspect.isasyncgenfunction(factory) else factory,
        source=factory,
    )


#: What `contextlib` says.
_NOTHING_YIELDED: Final = "generator didn't yield"

_NEEDED: Final = (
    *(inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD),
    inspect.Parameter.KEYWORD_ONLY,
)


def _evaluated(function: Any, annotation: str) -> Any:
    known = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    alone = type("_", (), {"__annotations__": {"gives": annotation}})

    try:
        return inspect.get_annotations(alone, globals=known, eval_str=True)["gives"]
    except (NameError, AttributeError, SyntaxError, TypeError):
        return None


@asynccontextmanager
async def opened(
    client: Resonate,
    dependencies: Iterable[Dependency[Any]],
    given: Iterable[object] | Mapping[Any, object] = (),
    instead: Iterable[Dependency[Any]] = (),
) -> AsyncIterator[None]:
    """Open these dependencies for the steps of this client, and close them at the end, the last one first.

    An object in `given` stands in for the dependency of its type, or of one that its type derives from; a mapping names
    the types. A dependency in `instead` stands in for the one of its type. What is stood in for is not opened. An error
    while closing is logged.

    Raises:
        DependencyUnusable: one cannot be opened. Those that were opened before it are closed.
        ConfigurationError: two of them give the same type.
    """
    objects = _objects_by_type(given)
    replacing = tuple(instead)
    replaced = {one.gives() for one in replacing} | objects.keys()
    chosen = _distinct([*replacing, *(one for one in dependencies if one.gives() not in replaced)])
    closers: list[tuple[Dependency[Any], AbstractAsyncContextManager[Any]]] = []

    try:
        for one in chosen:
            manager, value = await _opened(one)
            closers.append((one, manager))
            kind = one.gives()
            objects.setdefault(type(value) if kind is None else kind, value)

        provide(client, objects, _missing)
        yield
    finally:
        await _close(closers)


def _objects_by_type(given: Iterable[object] | Mapping[Any, object]) -> dict[Any, object]:
    if isinstance(given, Mapping):
        return dict(given)

    found: dict[Any, object] = {}

    for one in given:
        # A mock says in `__class__` what it stands for.
        found |= {kind: one for kind in one.__class__.__mro__ if kind not in found and kind is not object}

    return found


def _distinct(dependencies: list[Dependency[Any]]) -> list[Dependency[Any]]:
    seen: dict[Any, Dependency[Any]] = {}

    for one in dependencies:
        kind = one.gives()
        first = seen.setdefault(kind, one) if kind is not None else one

        if first is not one:
            reason = f"has two dependencies that give {_shown(kind)}: {first.name} and {one.name}"
            raise ConfigurationError("COUNTERSIGN_WORKFLOWS", reason)

    return dependencies


async def _opened[T](one: Dependency[T]) -> tuple[AbstractAsyncContextManager[T], T]:
    what = f"the dependency {one.name} of {one.module} could not be opened"

    try:
        async with asyncio.timeout(OPENING):
            manager = one.factory()

            return manager, await manager.__aenter__()

    except CountersignError as error:
        # Only the texts of our own errors never quote a setting.
        raise DependencyUnusable(redact(f"{what}: {error}")) from error
    except TimeoutError as error:
        raise DependencyUnusable(f"{what}: it took longer than {OPENING:g} s, or raised TimeoutError") from error
    except (Exception, SystemExit) as error:
        if str(error) == _NOTHING_YIELDED:
            raise DependencyUnusable(f"{what}: the function yields nothing") from error

        raise DependencyUnusable(f"{what}: {name_of_kind(error)}{place_in(error, one.file)}") from error


async def _close(opened_ones: list[tuple[Dependency[Any], AbstractAsyncContextManager[Any]]]) -> None:
    one = None

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSING) as limit:
            for one, manager in reversed(opened_ones):
                try:
                    await manager.__aexit__(None, None, None)
                except Exception as error:  # noqa: BLE001 - the others must be closed as well
                    logger.error(  # noqa: TRY400 - without its text
                        "the dependency %s of %s could not be closed: %s", one.name, one.module, describe_crash(error)
                    )

    if limit.expired() and one is not None:
        logger.error("the dependency %s of %s was not closed within %g s", one.name, one.module, CLOSING)


def _missing(kind: Any) -> Misused:
    return Misused(
        f"no dependency gives {_shown(kind)}: write `@dependency` over an async function that yields one and returns "
        f"AsyncIterator[{_shown(kind)}], in the module of the workflow or of the step; "
        "in a test, pass one to Trial(dependencies=[...])"
    )


def _shown(kind: Any) -> str:
    return str(getattr(kind, "__qualname__", kind))
