"""Where we reach below the SDK's public surface: one file for private names, listed files for unpromised modules.

The first half walks the source and fails on any other use. The second half pins what we rely on, with the SDK itself,
so that another version of it cannot change that unnoticed.

Long because each name that we use below the public surface has its own test.
"""

from __future__ import annotations

import ast
import asyncio
import tomllib
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from resonate.connections import LocalConnection
from resonate.connections.local import ServerState
from resonate.context import Context, ResonateFuture
from resonate.effects import Effects
from resonate.error import ServerError
from resonate.resonate import Resonate
from resonate.retry import Exponential
from resonate.types import PromiseRecord, Value
from support.configuration import settings
from support.plant import PATIENCE, pause

from orchestrator.engine import connect
from orchestrator.runs.group_ping import PING, is_served, ping
from orchestrator.sdk_internals import (
    PlacedContext,
    acquire_task,
    as_written,
    effects_of,
    forget_suspended,
    has_active_tasks,
    id_of,
    is_workflow,
    keep_as_workflow,
    no_longer_awaited,
    note_at_ends,
    omit_request_ids,
    permits_of,
    provide,
    read_task,
    refuse_tasks,
    replace_effects,
    replace_send,
    send_of,
    sleeper_of,
    state_of,
    suspend_until_settled,
    task_of,
    unfinished,
    watch_ends,
    watched,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
REACHES = "orchestrator/sdk_internals.py"
TESTED = "0.8.1"

#: What connectors and applications are meant to import.
PUBLIC = {
    *("resonate.connections", "resonate.context", "resonate.error", "resonate.ids", "resonate.observability"),
    *("resonate.promises", "resonate.resonate", "resonate.retry", "resonate.timing", "resonate.types"),
    *("resonate_base", "resonate_base.connections", "resonate_pg"),
}

#: Modules that the SDK's own parts share, and the files or rooms of ours that import them.
UNPROMISED = {
    "resonate.codec": (REACHES,),
    "resonate.connections.local": ("orchestrator/engine/embedded/",),
    "resonate.connections.sse": ("orchestrator/engine/connecting.py", "orchestrator/engine/remote/"),
    "resonate.durable": ("orchestrator/durable/steps.py",),
    "resonate.tree": (REACHES,),
    "resonate.effects": (REACHES, "orchestrator/durable/effects.py"),
    "resonate_pg.wire": ("orchestrator/engine/remote/postgres.py",),
}


# Who reaches


def sources() -> dict[str, ast.Module]:
    files = [file for folder in ("orchestrator", "receiver") for file in (ROOT / folder).rglob("*.py")]

    return {
        file.relative_to(ROOT).as_posix(): ast.parse(file.read_text("utf-8")) for file in files if not file.is_symlink()
    }


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined(module: ast.Module) -> set[str]:
    """Return the names that the module gives to functions, classes, variables and attributes of its own."""
    found = set()

    for node in ast.walk(module):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store())
            ):
                found.add(name)

    return found


def reaches(module: ast.Module, ours: set[str]) -> Iterator[str]:
    """Yield the private names that the module uses and does not define; those of `self` may be any of `ours`."""
    own = defined(module)

    for node in ast.walk(module):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if is_private(name) and name not in ours:
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(value=ast.Name(id="os"), attr="_exit"):
                continue
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield name
            case (
                ast.Call(
                    func=ast.Name(id="getattr" | "setattr" | "attrgetter"), args=[*_, ast.Constant(value=str(name))]
                )
                | ast.Call(func=ast.Name(id="getattr" | "setattr"), args=[_, ast.Constant(value=str(name)), *_])
            ) if is_private(name):
                yield name
            case ast.ImportFrom(module=str(source), names=names, level=0) if not source.startswith("orchestrator"):
                yield from (alias.name for alias in names if is_private(alias.name))


def imported(module: ast.Module) -> set[str]:
    """Return the modules of the SDK that are imported, type checkers' imports included."""
    found = set()

    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(source), level=0):
                found.add(source)

    return {name for name in found if name.partition(".")[0] in {"resonate", "resonate_base", "resonate_pg"}}


def test_private_names_of_the_sdk_are_known_to_one_file() -> None:
    modules = sources()
    ours = set().union(*map(defined, (module for file, module in modules.items() if file != REACHES)))
    found = {file: sorted({*reaches(module, ours)}) for file, module in modules.items()}

    assert {file: names for file, names in found.items() if names} == {
        REACHES: [
            *("_child", "_corr_id", "_created", "_deps", "_deserialize_error", "_encode_error", "_heartbeat"),
            *("_id", "_map", "_runtime", "_send_envelope", "_sender", "_state", "_task"),
        ],
        # These are asyncio's. Whether a task group cancels its own task, and what a task waits for, is not public.
        "orchestrator/durable/body.py": ["_parent_cancel_requested"],
        "orchestrator/testing/trial/at_rest.py": ["_context", "_fut_waiter", "_scheduled"],
    }


def test_unpromised_modules_of_the_sdk_are_imported_by_the_listed_files_alone() -> None:
    found: dict[str, set[str]] = {}

    for file, module in sources().items():
        for name in imported(module) - PUBLIC:
            found.setdefault(name, set()).add(file)

    pairs = {(name, file) for name, files in found.items() for file in files}
    strangers = {(name, file) for name, file in pairs if not file.startswith(UNPROMISED.get(name, ()))}

    assert found.keys() == UNPROMISED.keys()
    assert strangers == set()


@pytest.mark.parametrize(
    "source",
    [
        "resonate._sender",
        "def f(self): return self._state",
        "def f(self): self._core.sender = 1",
        "resonate._sender = 1",
        "getattr(ctx, '_state')",
        "setattr(ctx, '_state', 1)",
        "from resonate.codec import _encode_error",
    ],
)
def test_a_reach_is_seen_in_each_of_its_forms(source: str) -> None:
    assert list(reaches(ast.parse(source), set()))


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __init__(self, other): self._value = other._value",
        "os._exit(1)",
        "self.__dict__",
    ],
)
def test_a_look_into_ones_own_is_no_reach(source: str) -> None:
    module = ast.parse(source)

    assert not list(reaches(module, defined(module)))


@pytest.mark.parametrize("source", ["import resonate.core", "if TYPE_CHECKING:\n    from resonate.core import Core"])
def test_an_import_of_an_unpromised_module_is_seen(source: str) -> None:
    assert imported(ast.parse(source)) - PUBLIC == {"resonate.core"}


# What they rely on


def test_only_the_version_that_these_tests_pin_can_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert version("resonate-sdk") == TESTED
    assert f"resonate-sdk>={TESTED},<0.8.2" in project["dependencies"]


@pytest.mark.parametrize(
    "name",
    [
        *("apply", "tick", "promise_register_listener", "task_acquire", "task_heartbeat", "task_suspend"),
        *("schedule_create", "schedule_delete", "enqueue_settle", "resume_awaiters", "notify_subscribers"),
    ],
)
def test_what_the_embedded_engine_overrides_is_there(name: str) -> None:
    assert callable(getattr(ServerState, name))


@pytest.mark.parametrize("name", ["_state", "_global_req", "_next_id", "_remote_future"])
def test_what_is_reached_for_in_a_context_is_there(name: str) -> None:
    assert name == "_state" or callable(getattr(Context, name))


async def called(body: Any, *, tries: int = 0) -> Any:
    """Return what a function of this name returns when it is called through the SDK's own engine, or raise it."""
    resonate = Resonate(network=LocalConnection(), env={}, subscription_refresh_secs=0)
    resonate.register(body, name="f", retry_policy=Exponential(delay=0, factor=1, max_delay=0, max_retries=tries))

    try:
        with anyio.fail_after(PATIENCE):
            return await resonate.run("f.1", body).result()
    finally:
        await resonate.stop()


def seven(_: Context) -> int:
    return 7


async def test_a_context_can_be_made_over_the_state_of_another() -> None:
    class Ours(Context):
        pass

    async def body(ctx: Context) -> int:
        made = Ours(state_of(ctx), ctx.opts)

        return await made.run(seven) + await ctx.run(seven)

    assert await called(body) == 14


async def test_a_context_decides_itself_under_which_id_it_records_what_it_begins() -> None:
    class Placed(PlacedContext):
        def placed(self) -> str:
            return f"{self.following()}.0.1"

    connection = LocalConnection()
    client = Resonate(network=connection, env={})

    async def leaf(_: Context) -> str:
        return "done"

    async def function(ctx: Context) -> list[str]:
        first, second = (Placed(state_of(ctx), ctx.opts).run(leaf) for _ in range(2))

        return [await first, await first.id(), await second.id()]

    client.register(function)
    client.start()

    try:
        handle = client.run("placed", function)
        assert await handle.result() == ["done", "placed:1.0.1", "placed:2.0.1"]
    finally:
        await client.stop()


async def test_what_creates_and_settles_promises_can_be_replaced() -> None:
    asked = []

    class Watched:
        def __init__(self, effects: Effects) -> None:
            self._effects = effects

        async def create_promise(self, req: Any) -> Any:
            asked.append("create")
            return await self._effects.create_promise(req)

        async def settle_promise(self, id: str, result: Any) -> Any:  # noqa: A002 - the SDK's name
            asked.append("settle")
            return await self._effects.settle_promise(id, result)

    async def body(ctx: Context) -> int:
        replace_effects(ctx, Watched(effects_of(ctx)))

        return await ctx.run(seven)

    assert await called(body) == 7
    assert asked[:2] == ["create", "settle"]


async def test_what_a_function_call_settles_can_have_headers() -> None:
    ends: list[Any] = []

    async def body(ctx: Context) -> None:
        settle = effects_of(ctx).settle_promise

        async def noted(id: str, result: Any) -> Any:  # noqa: A002 - the SDK's name
            ends.append(await settle(id, result))

            return ends[-1]

        await ctx.run(seven)
        note_at_ends(effects_of(ctx), lambda: {"a": str(len(ends))})
        effects_of(ctx).settle_promise = noted  # type: ignore[method-assign]
        await ctx.run(seven)
        await ctx.run(seven)

    await called(body)

    assert [(each.value.headers, each.value.data) for each in ends] == [({"a": "0"}, 7), ({"a": "1"}, 7)]


async def test_a_function_kept_as_a_workflow_is_not_tried_again() -> None:
    tries: list[bool] = []

    async def body(ctx: Context, *, kept: bool) -> None:
        tries.append(kept)

        if kept:
            keep_as_workflow(ctx)

        raise ValueError("broken")

    async def plain(ctx: Context) -> None:
        await body(ctx, kept=False)

    async def kept(ctx: Context) -> None:
        await body(ctx, kept=True)

    for function in (plain, kept):
        with pytest.raises(Exception, match="broken"):
            await called(function, tries=1)

    assert tries == [False, False, True]


async def test_a_function_call_says_whether_it_has_begun_a_step_and_what_it_sleeps_with() -> None:
    async def body(ctx: Context) -> list[bool]:
        before = is_workflow(ctx)
        await ctx.run(seven)
        await sleeper_of(ctx)(0)

        return [before, is_workflow(ctx)]

    assert await called(body) == [False, True]


async def test_the_result_of_a_future_can_be_made_into_another_one() -> None:
    async def body(ctx: Context) -> list[Any]:
        awaited: list[int] = []

        async def unused() -> None:
            raise AssertionError

        future = watched(ctx.run(seven), shape=str, awaited=lambda: awaited.append(1), suspending=unused)

        return [await future, await future, await future.id(), len(awaited)]

    assert await called(body) == ["7", "7", "f.1:1", 2]


async def test_a_future_goes_on_with_the_record_that_it_is_given_instead_of_suspending_its_code() -> None:
    async def body(ctx: Context) -> list[Any]:
        settled = PromiseRecord(
            id="f.1:1", state="resolved", param=Value(), value=Value(data=7), tags={}, timeout_at=1, created_at=1
        )

        async def over() -> PromiseRecord:
            return settled

        future = watched(ctx.promise(), suspending=over)
        got = await future
        no_longer_awaited(ctx, "f.1:1")

        return [got, await future]

    assert await called(body) == [7, 7]


async def test_code_that_stops_waiting_for_an_id_does_not_disturb_the_step() -> None:
    async def unused() -> None:
        raise AssertionError

    created: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    step = asyncio.create_task(asyncio.sleep(0))
    future = watched(ResonateFuture(_id="f.1:1", _task=step, _created=created), suspending=unused)
    waiting = asyncio.create_task(future.id())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    created.set_result(None)

    assert waiting.cancelled()
    assert await future.id() == "f.1:1"


async def test_waits_that_have_suspended_a_function_call_can_be_dropped_and_resume_it_all_the_same() -> None:
    async def body(ctx: Context) -> str:
        calls.append(ctx.info.id)
        wait = ctx.promise()
        await asyncio.wait([task_of(wait)])
        step = ctx.run(seven)
        forget_suspended(ctx)
        left.append(len(unfinished(ctx)))

        return f"{await wait}, {await step}"

    calls: list[str] = []
    left: list[int] = []
    connection = LocalConnection()
    resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0)
    resonate.register(body, name="f")
    handle = resonate.run("f.1", body)

    with anyio.fail_after(PATIENCE):
        await handle.id()

        while connection.state.tasks["f.1"].state != "suspended":
            await pause(0)

        await resonate.promises.resolve("f.1:1", Value(data="seen"))

        assert await handle.result() == "seen, 7"

    assert (calls, left[0]) == (["f.1", "f.1"], 1)
    await resonate.stop()


async def test_a_function_call_can_end_without_a_wait_that_is_settled_by_now() -> None:
    async def body(ctx: Context) -> str:
        calls.append(ctx.info.id)
        wait = ctx.promise()
        promise_id = await wait.id()
        await asyncio.wait([task_of(wait)])
        await resonate.promises.resolve(promise_id, Value())
        no_longer_awaited(ctx, promise_id)

        return "over"

    calls: list[str] = []
    resonate = Resonate(network=LocalConnection(), env={}, subscription_refresh_secs=0)
    resonate.register(body, name="f")

    with anyio.fail_after(PATIENCE):
        assert await resonate.run("f.1", body).result() == "over"

    assert calls == ["f.1"]
    await resonate.stop()


async def test_a_function_need_not_wait_for_a_sleep_that_is_not_over() -> None:
    async def body(ctx: Context) -> str:
        nap = ctx.sleep(timedelta(days=1))
        await asyncio.wait([task_of(nap)])
        no_longer_awaited(ctx, id_of(nap))

        return await nap.id() if id_of(nap) == await nap.id() else "another id"

    resonate = Resonate(network=LocalConnection(), env={}, subscription_refresh_secs=0)
    resonate.register(body, name="f")

    with anyio.fail_after(PATIENCE):
        assert await resonate.run("f.1", body).result() == "f.1:1"

    await resonate.stop()


async def test_a_future_awaits_a_task_of_the_loop() -> None:
    async def body(ctx: Context) -> bool:
        future = ctx.run(seven)
        await future

        return task_of(future).done() and task_of(future).exception() is None

    assert await called(body) is True


async def test_a_workflow_can_suspend_on_the_root_of_another_one() -> None:
    connection = LocalConnection()
    resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0)
    target = {"resonate:target": connection.resolve_target("nobody"), "resonate:branch": "other"}
    calls = []

    async def waits(ctx: Context) -> str:
        calls.append(ctx.info.id)
        record = await resonate.promises.get("other")

        if record.state == "pending":
            suspend_until_settled(ctx, "other")

        return str(record.value.data)

    async def body(ctx: Context) -> str:
        return await ctx.run(waits)

    resonate.register(body, name="f")
    await resonate.promises.create("other", 2**42, Value(), target)
    handle = resonate.run("f.1", body)

    with anyio.fail_after(PATIENCE):
        await handle.id()

        while connection.state.tasks["f.1"].state != "suspended":
            await pause(0)

        await resonate.promises.resolve("other", Value(data="seen"))

        assert await handle.result() == "seen"

    assert calls == ["f.1:1", "f.1:1"]
    await resonate.stop()


async def test_a_task_can_be_acquired_without_running_it_and_the_engine_asked_about_it() -> None:
    connection = LocalConnection()
    resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0, autostart=False)
    await resonate.promises.create("w.1", 2**42, Value(), {"resonate:target": connection.resolve_target("nobody")})

    assert (await acquire_task(resonate, "w.1", 0, pid="us", lease=1000)).task.id == "w.1"
    assert connection.state.tasks["w.1"].state == "acquired"

    # The engine in this process does not know the request, which shows that it was sent.
    with pytest.raises(ServerError, match=r"task\.get"):
        await read_task(resonate, "w.1")

    await resonate.stop()


async def test_steps_and_waits_that_have_not_ended_are_known() -> None:
    async def body(ctx: Context) -> list[int]:
        before = len(unfinished(ctx))
        futures = [ctx.run(seven), ctx.promise(), ctx.detached("nobody")]
        begun = len(unfinished(ctx))
        await asyncio.wait([task_of(future) for future in futures])
        await resolve(await futures[1].id())

        return [before, begun, len(unfinished(ctx))]

    async def resolve(promise_id: str) -> None:
        await resonate.promises.resolve(promise_id, Value())

    resonate = Resonate(network=LocalConnection(), env={}, subscription_refresh_secs=0)
    resonate.register(body, name="f")

    with anyio.fail_after(PATIENCE):
        assert await resonate.run("f.1", body).result() == [0, 3, 0]

    await resonate.stop()


async def test_plain_data_is_what_the_sdk_would_write() -> None:
    @dataclass
    class Point:
        x: int
        names: list[str]

    value = {1: Point(2, ["a"])}

    async def body(_: Context) -> Any:
        return value

    assert await called(body) == as_written(value) == {"1": {"x": 2, "names": ["a"]}}


async def test_all_requests_of_a_client_can_be_sent_by_something_else() -> None:
    resonate = Resonate(network=LocalConnection(), env={}, subscription_refresh_secs=0)
    asked = []

    def replacement(send: Any) -> Any:
        async def watched(kind: str, data: Any, **options: Any) -> Any:
            asked.append(kind)
            return await send(kind, data, **options)

        return watched

    own = send_of(resonate)
    replace_send(resonate, replacement)
    assert send_of(resonate) != own
    await resonate.promises.create("p", 2**42, Value(), {})
    await resonate.promises.get("p")
    await resonate.stop()

    assert asked == ["promise.create", "promise.get"]


async def test_the_requests_of_a_client_can_have_no_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = LocalConnection()
    sent: list[str] = []
    send = connection.send

    async def watched(req: str, headers: dict[str, str] | None = None) -> str:
        sent.append(msgspec.json.decode(req)["head"]["corrId"])
        return await send(req, headers)

    monkeypatch.setattr(connection, "send", watched)
    resonate = Resonate(network=connection, env={}, subscription_refresh_secs=0)
    await resonate.promises.create("p", 2**42, Value(), {})
    omit_request_ids(resonate)
    await resonate.promises.get("p")
    await resonate.stop()

    assert sent[0]
    assert not any(sent[1:])


async def test_dependencies_are_had_in_steps_by_the_types_given(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    provide(engine.resonate, {int: 7}, lambda kind: LookupError(f"no {kind.__name__}"))

    async def body(ctx: Context) -> str:
        try:
            return ctx.get_dependency(str)
        except LookupError as error:
            return f"{error}, {ctx.get_dependency(int)}"

    engine.resonate.register(body, name="body")
    engine.start()

    assert await engine.resonate.run("w", body).result() == "no str, 7"

    await engine.stop()


async def test_a_client_that_refuses_tasks_takes_none(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    engine.resonate.register(ping, name=PING)
    engine.start()

    assert await is_served(engine, "default", seconds=PATIENCE)

    refuse_tasks(engine.resonate)

    assert not await is_served(engine, "default", seconds=0.1)

    await engine.stop()


async def test_each_task_that_runs_holds_a_permit(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    permits = permits_of(engine.resonate)
    free, seen = permits._value, []

    async def body(_: Context) -> int:
        seen.append(permits._value)
        return 7

    engine.resonate.register(body, name="f")
    engine.start()

    assert await engine.resonate.run("f.1", body).result() == 7
    assert seen == [free - 1]
    assert permits._value == free

    await engine.stop()


async def test_a_task_is_active_until_it_has_ended(tmp_path: Path) -> None:
    engine = await connect(settings(tmp_path, "memory://"), work=True)
    begun, go_on = anyio.Event(), anyio.Event()

    async def body(_: Context) -> int:
        begun.set()
        await go_on.wait()
        return 7

    engine.resonate.register(body, name="f")
    engine.start()
    engine.resonate.run("f.1", body)

    with anyio.fail_after(PATIENCE):
        await begun.wait()

        assert has_active_tasks(engine.resonate)

        go_on.set()

        while has_active_tasks(engine.resonate):
            await anyio.lowlevel.checkpoint()

    await engine.stop()


async def test_the_end_of_a_function_is_seen_once_the_engine_has_recorded_it() -> None:
    seen = []
    client = Resonate(network=LocalConnection(), env={}, subscription_refresh_secs=0)
    watch_ends(client, lambda asked, record: seen.append((asked, record)), lambda asked: {"seen": asked.id})

    async def answer(_: Context) -> int:
        return 7

    client.register(answer)
    assert await client.run("root.1", answer).result() == 7
    await client.stop()

    ((asked, record),) = seen
    assert (asked.id, record.id, record.state) == ("root.1", "root.1", "resolved")
    assert record.value.data == asked.value.data
    assert record.value.headers == {"seen": "root.1"}
    assert record.settled_at is not None
    assert record.settled_at >= record.created_at > 0
