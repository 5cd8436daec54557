"""Dependencies are opened before the first task, closed after the last one, and never named with what an error says.

Long because each way in which a dependency can be wrong is a function of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import pytest
from resonate.resonate import Resonate
from resonate.testing import local_resonate

from orchestrator import Dependency, dependency
from orchestrator.durable import dependencies
from orchestrator.durable.dependencies import opened
from orchestrator.errors import ConfigurationError, DependencyUnusable, Misdefined, Misused


class Pool:
    """What a step needs."""

    def __init__(self) -> None:
        self.open = False


class Cache(Pool):
    """Something else that a step needs."""


class Client:
    """A context manager that is its own object."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dependency
async def pool() -> AsyncIterator[Pool]:
    one = Pool()
    one.open = True
    yield one
    one.open = False


@dependency(group="db")
@asynccontextmanager
async def cache() -> AsyncIterator[Cache]:
    yield Cache()


def managed() -> AbstractAsyncContextManager[Pool]:
    return contextlib.nullcontext(Pool())


async def unannotated():  # type: ignore[no-untyped-def]  # noqa: ANN201 - on purpose
    yield Pool()


async def named_for_type_checkers() -> "AsyncIterator[Missing]":  # type: ignore[name-defined]  # noqa: F821, UP037
    yield Pool()


async def generating() -> "AsyncGenerator[Later, None]":  # type: ignore[name-defined]  # noqa: F821, UP037
    yield Later()


class Later(Pool):
    """Defined below the function that gives it."""


def failing(error: Exception) -> Any:
    raise error


@pytest.fixture
def client() -> Resonate:
    return local_resonate(autostart=False)


def given_by(client: Resonate, kind: Any) -> Any:
    return client._deps.get(kind)


async def test_it_is_open_in_between_and_closed_at_the_end(client: Resonate) -> None:
    async with opened(client, [pool, cache]):
        one = given_by(client, Pool)
        assert one.open
        assert isinstance(given_by(client, Cache), Cache)

    assert not one.open


def test_it_is_for_all_groups_or_for_one() -> None:
    assert (pool.name, pool.module, pool.group) == ("pool", __name__, None)
    assert (cache.name, cache.group) == ("cache", "db")


@pytest.mark.parametrize(
    ("factory", "kind"),
    [
        (managed, Pool),
        (Client, Client),
        (generating, Later),
        (unannotated, Pool),
        (named_for_type_checkers, Pool),
    ],
)
async def test_every_factory_of_an_async_context_manager_will_do(
    client: Resonate, factory: Callable[[], Any], kind: type
) -> None:
    async with opened(client, [dependency(factory)]):
        assert type(given_by(client, kind)) is kind


async def test_a_type_that_only_the_function_around_it_knows_is_found(client: Resonate) -> None:
    class Inner(Pool):
        pass

    class Outer(Inner):
        pass

    @dependency
    async def inner() -> AsyncIterator[Inner]:
        one: Inner = Outer()
        assert isinstance(one, Inner)
        yield one

    async with opened(client, [inner]):
        assert isinstance(given_by(client, Inner), Outer)


async def test_it_can_be_opened_without_a_worker() -> None:
    async with pool() as one:
        assert one.open


async def test_they_are_closed_in_reverse_order_even_if_one_cannot_be(
    client: Resonate, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    @dependency
    async def first() -> AsyncIterator[Pool]:
        yield Pool()
        closed.append("first")

    @dependency
    async def second() -> AsyncIterator[Cache]:
        yield Cache()
        closed.append("second")
        raise ValueError("postgres://user:secret@host")

    async with opened(client, [first, second]):
        pass

    assert closed == ["second", "first"]
    assert f"the dependency second of {__name__} could not be closed: builtins.ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_one_that_does_not_close_is_left(
    client: Resonate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "CLOSING", 0.01)

    @dependency
    async def stuck() -> AsyncIterator[Pool]:
        yield Pool()
        await asyncio.Event().wait()

    async with opened(client, [stuck]):
        pass

    assert "the dependency stuck" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_one_that_cannot_be_opened_refuses_the_start_and_closes_the_others(client: Resonate) -> None:
    closed: list[str] = []

    @dependency
    async def good() -> AsyncIterator[Pool]:
        yield Pool()
        closed.append("good")

    @dependency
    async def broken() -> AsyncIterator[Cache]:
        yield failing(ConnectionRefusedError("postgres://user:secret@host"))

    with pytest.raises(DependencyUnusable) as raised:
        async with opened(client, [good, broken]):
            pytest.fail("it was opened")

    text = str(raised.value)
    assert text.startswith(f"the dependency broken of {__name__} could not be opened: builtins.ConnectionRefusedError")
    assert "test_dependencies.py:" in text
    assert "secret" not in text
    assert "\n" not in text
    assert closed == ["good"]


async def test_one_that_takes_too_long_to_open_refuses_the_start(
    client: Resonate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "OPENING", 0.01)

    @dependency
    async def stuck() -> AsyncIterator[Pool]:
        await asyncio.Event().wait()
        yield Pool()

    with pytest.raises(DependencyUnusable, match=r"the dependency stuck .* longer than 0.01 s"):
        await opened(client, [stuck]).__aenter__()


async def test_our_own_errors_are_shown(client: Resonate) -> None:
    @dependency
    async def unset() -> AsyncIterator[Pool]:
        yield failing(ConfigurationError("SHOP_URL", "is missing"))

    with pytest.raises(DependencyUnusable, match="could not be opened: SHOP_URL is missing"):
        await opened(client, [unset]).__aenter__()


async def test_one_that_yields_nothing_is_told_so(client: Resonate) -> None:
    @dependency
    async def empty() -> AsyncIterator[Pool]:
        for pool in list[Pool]():
            yield pool

    with pytest.raises(DependencyUnusable, match=r"dependency empty of .* could not be opened: the function yields no"):
        await opened(client, [empty]).__aenter__()


async def test_two_that_give_the_same_type_refuse_the_start(client: Resonate) -> None:
    @dependency
    async def another() -> AsyncIterator[Pool]:
        yield Pool()

    with pytest.raises(ConfigurationError, match="two dependencies that give Pool: pool and another"):
        await opened(client, [pool, another]).__aenter__()


async def test_an_object_that_is_given_stands_in_and_the_dependency_is_not_opened(client: Resonate) -> None:
    own = Pool()

    async with opened(client, [pool], given=[own]):
        assert given_by(client, Pool) is own

    assert not own.open


async def test_what_nobody_gives_is_named_with_the_way_to_give_it(client: Resonate) -> None:
    async with opened(client, []):
        with pytest.raises(Misused, match=r"no dependency gives Pool: write `@dependency` .*AsyncIterator\[Pool\]"):
            given_by(client, Pool)


async def returns() -> Pool:
    return Pool()


def yields() -> Iterator[Pool]:
    yield Pool()


async def takes(name: str) -> AsyncIterator[Pool]:
    yield Pool()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (returns, "returns must yield its object"),
        (yields, "yields must be an async function that yields"),
        (contextlib.contextmanager(yields), "yields must be an async function that yields"),
        (takes, "takes must be callable without arguments"),
        (Pool, "Pool is a class without `__aenter__`"),
        (Pool(), "must be an async function that yields"),
    ],
)
def test_what_cannot_be_a_dependency_is_refused_when_it_is_defined(wrong: Any, reason: str) -> None:
    with pytest.raises(Misdefined, match=reason):
        dependency(wrong)


def test_a_groups_name_is_checked() -> None:
    with pytest.raises(Misdefined, match="worker group"):
        dependency(group="DB")


def test_type_checkers_know_what_it_gives() -> None:
    known: Dependency[Pool] = pool
    of_a_group: Dependency[Cache] = cache
    assert (known, of_a_group) == (pool, cache)
