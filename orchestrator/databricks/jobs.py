"""Databricks jobs: trigger a run, look at a run, cancel a run.

Steps use only this file to reach Databricks. It refuses to wait: a call ends within a minute, even if the library would
sleep for as long as a Retry-After says, or is stuck in a silent connection. It also refuses to import the library at
once, which takes a second and 45 MB that a process without Databricks should not spend. The first call imports `sdk` in
that call's own thread, because an import on the event loop would delay every response by a second.

Only the idempotency token makes a run unique. It also makes it safe that the library repeats a request whose response
was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from orchestrator.counts import Counts
from orchestrator.databricks.run import JobRun, JobsApi, RunGone, RunOutput
from orchestrator.errors import StepUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from orchestrator.config.secret import Secret

#: Seconds after which a call here is over, whatever the library still does.
CALL_TIMEOUT: Final = 60.0


class Databricks:
    """The Jobs API of one workspace, for use in steps.

    `variables` are DATABRICKS_* variables by name. The library finds what they leave open by itself: in the process
    environment, in ~/.databrickscfg, from the Azure command line tool. `connect` replaces all that. It is called in a
    thread, when the first call needs it, and again if it failed.

    An object belongs to one event loop. `counts` counts its calls. `run` runs each of them, by default in a thread.
    """

    def __init__(  # noqa: PLR0913 - each with a default that is right for a worker
        self,
        connect: Callable[[], JobsApi] | None = None,
        *,
        variables: Mapping[str, Secret] = MappingProxyType({}),
        concurrency: int = 16,
        call_timeout: float = CALL_TIMEOUT,
        counts: Counts | None = None,
        run: _Runner | None = None,
    ) -> None:
        self._connect = connect if connect is not None else functools.partial(_sign_in, variables)
        self._connection = _Connection(self._connect)
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._call_timeout = call_timeout
        self._run: Final[_Runner] = run if run is not None else _in_daemon_thread
        self._counts = counts if counts is not None else Counts()

    async def trigger(self, job_id: int, *, idempotency_token: str, parameters: Mapping[str, str]) -> int:
        """Return the id of the run this token stands for, starting it if there is none yet.

        The run may be in any state, and may have ended long ago; read it to find out. When this raises
        `StepUnavailable`, or is cancelled, the run may have been started nevertheless; calling again with the same
        token finds it.

        Raises:
            StepRefused: unknown job, undeclared parameter, no permission, unusable credentials, or the token's run was
                deleted.
            StepUnavailable: no usable response in time.
        """
        return await self._call("trigger", lambda workspace: workspace.run_now(job_id, idempotency_token, parameters))

    async def read(self, run_id: int) -> JobRun:
        """Return the run as it is now. A run in an unknown state counts as in flight.

        Raises:
            RunGone: there is no such run (a `StepRefused`).
            StepRefused: no permission, unusable credentials.
            StepUnavailable: no usable response in time.
        """
        run = await self._call("read", lambda workspace: workspace.get_run(run_id))

        if run is None:
            raise RunGone(run_id)

        return run

    async def output(self, run_id: int) -> RunOutput:
        """Return what the run of a task has left. A job's own run has no output, only its tasks have.

        Raises:
            RunGone: there is no such run; Databricks removes runs after 60 days.
            StepRefused: no permission, unusable credentials, or the run has several tasks.
            StepUnavailable: no usable response in time.
        """
        output = await self._call("output", lambda workspace: workspace.get_output(run_id))

        if output is None:
            raise RunGone(run_id)

        return output

    async def cancel(self, run_id: int) -> None:
        """Ask Databricks to cancel the run. That takes a while, so the run may go on after this has returned.

        A run that is over or gone is not an error.

        Raises:
            StepRefused: no permission, unusable credentials.
            StepUnavailable: no usable response in time; the run may have been cancelled nevertheless.
        """
        await self._call("cancel", lambda workspace: workspace.cancel_run(run_id))

    async def _call[T](self, what: str, ask: Callable[[JobsApi], T]) -> T:
        with self._counts.result("databricks_calls", what):
            return await self._asked(ask)

    async def _asked[T](self, ask: Callable[[JobsApi], T]) -> T:
        connection = self._connection

        with anyio.move_on_after(self._call_timeout):
            async with self._limiter:
                return await self._run(lambda: ask(connection.workspace()))

        # A client stuck in a connection, or in signing in, would hold up every later call.
        if self._connection is connection:
            self._connection = _Connection(self._connect)

        raise StepUnavailable("Databricks did not answer in time")


class _Runner(Protocol):
    def __call__[T](self, work: Callable[[], T], /) -> Awaitable[T]: ...


class _Connection:
    """Connects to a workspace on first use, once. A failure to connect is not kept."""

    def __init__(self, connect: Callable[[], JobsApi]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._workspace: JobsApi | None = None

    def workspace(self) -> JobsApi:
        with self._lock:
            if self._workspace is None:
                self._workspace = self._connect()

            return self._workspace


def _sign_in(variables: Mapping[str, Secret]) -> JobsApi:
    from orchestrator.databricks.sdk import connect  # noqa: PLC0415 - heavy, see the module's docstring

    return connect(variables)


async def _in_daemon_thread[T](work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises. If this is cancelled, the thread is left to itself.

    A thread of anyio's or asyncio's pool is joined when the interpreter exits, so a process that is stopped would hang
    for as long as Databricks is silent. A daemon thread is not joined.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        if not done.done():
            settle()

    def run() -> None:
        try:
            settle = functools.partial(done.set_result, work())
        except BaseException as error:  # noqa: BLE001 - not swallowed: it is raised to whoever awaits
            settle = functools.partial(done.set_exception, error)

        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            loop.call_soon_threadsafe(deliver, settle)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="databricks", daemon=True).start()
    return await done
