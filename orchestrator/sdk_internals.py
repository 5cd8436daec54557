"""Every place where we reach below the public surface of `resonate-sdk`, and nothing else.

The SDK may change any of it without notice. So each function here is pinned by a test that fails when the SDK changes,
`pyproject.toml` allows only the versions that were tested, and a test fails when another file reaches below the
surface. The same test lists the SDK's modules that are not part of its promised surface, and the files that import
them. The embedded engine is among these, because it is the SDK's own in-process server with a journal.

Long because it is the only file that may do this.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, override

import msgspec
import resonate.codec
from resonate.codec import decode_settled, enc_hook
from resonate.context import Context, ResonateFuture
from resonate.error import Suspended
from resonate.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping

    from resonate.effects import Effects
    from resonate.resonate import Resonate
    from resonate.types import PromiseRecord, PromiseSettleReq

SDK_FOLDER: Final = Path(resonate.codec.__file__).parent


class PlacedContext(Context):
    """A context that decides itself under which id it records what it begins."""

    def following(self) -> str:
        """Take the next number of this function call, and return the id that it makes, as the SDK does each time."""
        return super()._next_id()

    def placed(self) -> str:
        """Return the id of what is begun now. Called once for each step and wait."""
        return self.following()

    @override
    def _next_id(self) -> str:
        return self.placed()


def state_of(ctx: Context) -> Any:
    """Return what all contexts of one function call share. A context consists of this and its options."""
    return ctx._state


def effects_of(ctx: Context) -> Effects:
    """Return what creates and settles promises for this function call."""
    effects: Effects = ctx._state.effects

    return effects


def replace_effects(ctx: Context, effects: Any) -> None:
    """Make `effects` create and settle the promises of this function call from now on."""
    ctx._state.effects = effects


def note_at_ends(effects: Any, headers: Callable[[], dict[str, str]]) -> None:
    """Give each value that these effects settle a promise with from now on the headers that `headers` returns then."""
    effects.sender = _Noting(effects.sender, headers)


class _Noting:
    """The SDK's sender for one function call, which gives each value that settles a promise some headers."""

    def __init__(self, sender: Any, headers: Callable[[], dict[str, str]]) -> None:
        self.task_fence_create = sender.task_fence_create
        self._settle = sender.task_fence_settle
        self._headers = headers

    async def task_fence_settle(self, id: str, version: int, req: PromiseSettleReq) -> Any:  # noqa: A002 - the SDK's name
        value = msgspec.structs.replace(req.value, headers=self._headers())

        return await self._settle(id, version, msgspec.structs.replace(req, value=value))


def keep_as_workflow(ctx: Context) -> None:
    """Make the SDK treat this function call as a workflow: if it raises, that is final and it is not tried again."""
    ctx._state.workflow = True


def suspend_until_settled(ctx: Context, promise_id: str) -> NoReturn:
    """Suspend the workflow of this function call until this promise is settled, whichever workflow it belongs to.

    The function is then called again, and must find out itself how the promise was settled. A promise that the engine
    does not hold would never resume it, so look it up before.

    Raises:
        Suspended: always.
    """
    ctx._state.tree.add_child(ctx._state.id, promise_id, "ext")
    ctx._state.spawned_remote.append(promise_id)

    raise Suspended


def no_longer_awaited(ctx: Context, promise_id: str) -> None:
    """Let this function call end without this promise, which it has begun, whether it is settled or not."""
    state = ctx._state
    state.spawned_remote = [each for each in state.spawned_remote if each != promise_id]
    state.tree.settle(promise_id)


def forget_suspended(ctx: Context) -> None:
    """Drop those waits of this function call that have suspended it, which the SDK would only look at once more.

    Each look would tie the wait's task, its exception and the frame that looks into a cycle, for the garbage collector.
    """
    state = ctx._state
    tasks, state.spawned_remote_tasks = state.spawned_remote_tasks, []

    for task in tasks:
        error = task.exception() if task.done() and not task.cancelled() else None

        if isinstance(error, Suspended):
            error.__traceback__ = None
        else:
            state.spawned_remote_tasks.append(task)


def unfinished(ctx: Context) -> list[Any]:
    """Return the tasks of the event loop for those steps and waits of this function call that have not ended yet."""
    state = ctx._state
    tasks = [local.handle for local in state.spawned_locals] + state.spawned_remote_tasks

    return [task for task in tasks if not task.done()]


def is_workflow(ctx: Context) -> bool:
    """Return whether this function call has begun steps or waits of its own, so that it must not be made again."""
    workflow: bool = ctx._state.workflow

    return workflow


def sleeper_of(ctx: Context) -> Callable[[float], Awaitable[None]]:
    """Return what this function call sleeps with, in seconds: the SDK's own pauses use it too, and tests replace it."""
    sleeper: Callable[[float], Awaitable[None]] = ctx._state.sleeper

    return sleeper


def await_only(ctx: Context, promise_id: str | None) -> None:
    """Make this function call await nothing but this promise, or nothing at all so that it can end.

    Call `flush_local_work` first. Nothing that the call has begun is settled or withdrawn.
    """
    state = ctx._state
    state.spawned_remote = []
    state.tree = Tree(state.id)

    if promise_id is not None:
        state.spawned_remote.append(promise_id)
        state.tree.add_child(state.id, promise_id, "ext")


def unrecorded(ctx: Context, name: str, call: Callable[[Context], Awaitable[Any]]) -> ResonateFuture[Any]:
    """Start a call that is no part of the record, and return its future, which takes no place among the steps.

    The call gets a context of its own, which cannot begin anything. The SDK waits for it as it does for steps.
    """
    child = ctx._child(f"{ctx.info.id}~{name}", name, ctx.info.timeout_at)
    task = asyncio.ensure_future(call(child))
    ctx._state.spawned_remote_tasks.append(task)
    created: asyncio.Future[None] = asyncio.Future()
    created.set_result(None)

    return ResonateFuture(_id=child.info.id, _task=task, _created=created)


def watched(
    future: ResonateFuture[Any],
    *,
    shape: Callable[[Any], Any] | None = None,
    awaited: Callable[[], object] | None = None,
    suspending: Callable[[], Coroutine[Any, Any, PromiseRecord | None]],
    ending: Callable[[], Awaitable[None] | None] = lambda: None,
) -> ResonateFuture[Any]:
    """Return the future, which `shape` makes the result of.

    Each await calls `awaited` first, and awaits `suspending` before it raises `Suspended`; if that returns the settled
    record of the promise, it goes on with it instead. Before it returns or raises anything else, it awaits what
    `ending` returns. Cancelling the await, or that of the id, does not cancel the step.
    """
    return _Watched(
        _id=future._id,
        _task=future._task,
        _created=future._created,
        shape=shape,
        awaited=awaited,
        suspending=suspending,
        ending=ending,
    )


class _Watched(ResonateFuture[Any], frozen=True, kw_only=True):
    shape: Callable[[Any], Any] | None
    awaited: Callable[[], object] | None
    suspending: Callable[[], Coroutine[Any, Any, PromiseRecord | None]]
    ending: Callable[[], Awaitable[None] | None]

    def __await__(self) -> Generator[Any, None, Any]:
        if self.awaited is not None:
            self.awaited()

        result, record = None, None

        try:
            result = yield from asyncio.shield(self._task).__await__()
        except Suspended:
            record = yield from self.suspending().__await__()

            if record is None:
                raise
        except Exception:
            yield from self._end()
            raise

        yield from self._end()

        if record is not None:
            result = decode_settled(record)

        return result if self.shape is None else self.shape(result)

    def _end(self) -> Generator[Any, None, None]:
        if (turn := self.ending()) is not None:
            yield from turn.__await__()

    async def id(self) -> str:
        await asyncio.shield(self._created)

        return self._id


def id_of(future: ResonateFuture[Any]) -> str:
    """Return the id of a step or a wait that this function call has begun, before its promise is created."""
    return future._id


def asked_of(future: ResonateFuture[Any]) -> asyncio.Future[None]:
    """Return what is done when the record is known that this step or wait has already, or has now got."""
    return future._created


def task_of(future: ResonateFuture[Any]) -> Any:
    """Return the task of the event loop that a future awaits; it raises `Suspended` while the promise is pending."""
    return future._task


def as_written(value: object) -> Any:
    """Return the plain data that the SDK makes of a value before it writes it as JSON."""
    return msgspec.to_builtins(value, enc_hook=enc_hook, str_keys=True)


def replace_failures(write: Callable[[Exception], Any], read: Callable[[Any], Exception]) -> None:
    """Make the SDK write and read failures with these functions, in the whole process.

    The SDK's codec looks both functions up in its module whenever it uses them.
    """
    resonate.codec._encode_error = write  # type: ignore[assignment]
    resonate.codec._deserialize_error = read  # type: ignore[assignment]


def read_settled(record: PromiseRecord) -> Any:
    """Return the value of a settled record as a workflow would get it, or raise the failure in it."""
    return decode_settled(record)


def replace_send(client: Resonate, replacement: Callable[[Any], Any]) -> None:
    """Replace the function by which this client sends requests; `replacement` gets the SDK's own and returns ours."""
    sender = client._sender
    sender._send_envelope = replacement(sender._send_envelope)  # type: ignore[method-assign]


def send_of(client: Resonate) -> Any:
    """Return the function by which this client sends requests: the SDK's own, or what has replaced it."""
    return client._sender._send_envelope


def omit_request_ids(client: Resonate) -> None:
    """Let the requests of this client have no ids, because its engine replies to each where it was made."""
    client._sender._corr_id = str


def provide(client: Resonate, objects: Mapping[Any, object], missing: Callable[[Any], Exception]) -> None:
    """Make `get_dependency` return these objects by the types given, and raise `missing(type)` where there is none.

    The SDK itself knows an object only by the type that it has.
    """
    dependencies = client._deps
    dependencies._map.update(objects)

    def get(kind: Any) -> Any:
        try:
            return dependencies._map[kind]
        except KeyError:
            failure = missing(kind)

        raise failure

    dependencies.get = get  # type: ignore[method-assign, assignment]


async def read_task(client: Resonate, task_id: str) -> Any:
    """Return what a remote engine says about a task. The SDK has no method for this request of the protocol."""
    _, reply = await client._sender._send_envelope("task.get", {"id": task_id}, allow_409=False, routes_by=task_id)

    return reply


async def acquire_task(client: Resonate, task_id: str, version: int, *, pid: str, lease: int) -> Any:
    """Acquire a task for so many milliseconds without running it."""
    return await client._sender.task_acquire(task_id, version, pid, lease)


def watch_ends(
    client: Resonate,
    watch: Callable[[PromiseSettleReq, PromiseRecord], None],
    headers: Callable[[PromiseSettleReq], dict[str, str] | None],
) -> None:
    """Call `watch` each time that the engine has recorded the end of a function of this client. It must not raise.

    It gets what was asked for, and the record, payloads encoded. That may show another end, if somebody else was first.
    The value that an end records gets these `headers`, which the SDK has no way to set.
    """
    sender = client._sender
    fulfill = sender.task_fulfill

    async def watched(id: str, version: int, action: PromiseSettleReq) -> PromiseRecord:  # noqa: A002 - the SDK's name
        value = msgspec.structs.replace(action.value, headers=headers(action))
        record = await fulfill(id, version, msgspec.structs.replace(action, value=value))
        watch(action, record)

        return record

    sender.task_fulfill = watched  # type: ignore[method-assign]


def refuse_tasks(client: Resonate) -> None:
    """Make the client take no more tasks. Its `stop` does so too, but closes the connections first."""
    client._runtime.stopping = True


def permits_of(client: Resonate) -> asyncio.Semaphore:
    """Return what bounds how many tasks of this client run at once; each holds one permit."""
    return client._runtime.execute_sema


def has_active_tasks(client: Resonate) -> bool:
    """Return whether tasks that the client has taken are still running."""
    heartbeat: Any = client._heartbeat

    return bool(heartbeat.active_tasks)
