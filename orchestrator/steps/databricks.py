"""Databricks jobs: trigger a run, look at a run, cancel a run.

The only file that imports databricks. Every error of that library becomes one of two of ours: `StepRefused`, where
asking again cannot help, and `StepUnavailable`, where it may. It refuses to wait: a call ends within a minute, also
where the library would sleep for as long as a Retry-After says, or is stuck in a silent connection. And it refuses to
pass on unread what Databricks says, because that may echo what was sent: addresses, tokens and parameter values are cut
out of every text that leaves this file.

Nothing here makes a run unique; the idempotency token does. It is also what makes the library's own retries of a
request whose answer was lost safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import hashlib
import json
import logging
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio
from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import RealClock
from databricks.sdk.core import Config, DatabricksError
from databricks.sdk.errors import (
    Aborted,
    BadRequest,
    InvalidParameterValue,
    InvalidState,
    NotFound,
    PermissionDenied,
    ResourceConflict,
    ResourceDoesNotExist,
    Unauthenticated,
)
from databricks.sdk.errors import NotImplemented as NotSupported
from google.auth.exceptions import GoogleAuthError

from orchestrator.errors import StepRefused, StepUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from databricks.sdk.service import jobs

logger = logging.getLogger(__name__)

HTTP_TIMEOUT: Final = 30.0
"""Seconds one request of the library may wait for the server."""

RETRY_TIMEOUT: Final = 20
"""Seconds after which the library starts no further try of its own."""

CALL_TIMEOUT: Final = 60.0
"""Seconds after which a call here is over, whatever the library still does."""

LONGEST_SLEEP: Final = 11.0
"""Seconds the library may sleep between two tries, its own longest pause; a Retry-After of more ends the call."""

_OVER: Final = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})

# The newer `status.state` knows one state under another name.
_RENAMED: Final = {"WAITING": "WAITING_FOR_RETRY"}

_REFUSALS: Final = (
    (Unauthenticated, "the credentials were not accepted"),
    (PermissionDenied, "permission denied"),
    (NotFound, "there is no such thing"),
    (InvalidParameterValue, "a parameter is invalid"),
    (InvalidState, "not in this state"),
    (BadRequest, "the request is invalid"),
    (ResourceConflict, "conflict"),
    (NotSupported, "not supported"),
)

# RFC 6749 section 5.2: what a token endpoint answers when asking again cannot help.
_OAUTH_REFUSALS: Final = ("invalid_client", "invalid_grant", "invalid_scope", "unauthorized_client", "access_denied")

# Everything the library is known to raise: its own errors, those of requests and the built-in TimeoutError are
# OSErrors; credentials raise ValueError and, on Google Cloud, GoogleAuthError; an answer of another shape than the
# API's is a KeyError, TypeError or AttributeError inside it.
_LIBRARY_ERRORS: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
    GoogleAuthError,
)

_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*(?::|%3a)(?:\\?/|%2f){2}[^\s\"'<>]*", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{40,}")
_DEBUG_INFO: Final = re.compile(r"\.? ?(?:Config|Env): .*|This is likely a bug in the Databricks SDK.*", re.DOTALL)
_CUT: Final = "[...]"
_UNREACHABLE: Final = "Databricks could not be reached"


class RunGone(StepRefused):
    """Databricks knows no such run: it was deleted, is older than Databricks keeps runs, or is another workspace's."""

    def __init__(self, run_id: int) -> None:
        super().__init__(f"Databricks has no run {run_id}")
        self.run_id = run_id

    def __reduce__(self) -> tuple[object, ...]:
        return (RunGone, (self.run_id,))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run as the Jobs API describes it.

    `over` says that it has ended and will not change again, `result_state` how, where the API names it. `message` is at
    most 500 characters and free of addresses, tokens and parameter values. `parameters` are the run's job parameters:
    the callback address is among them, so they stay out of the repr and must not be returned from a step.
    """

    run_id: int
    job_id: int
    over: bool
    life_cycle_state: str
    result_state: str | None
    message: str
    page_url: str | None
    parameters: Mapping[str, str] = field(repr=False)


def idempotency_token(promise_id: str) -> str:
    """Return the idempotency token of the run that this callback waits for: SHA-256 as 64 hex digits.

    Databricks takes at most 64 characters. One promise, one token, one run, whatever state that run is in.
    """
    return hashlib.sha256(promise_id.encode()).hexdigest()


def workspace_client(**settings: Any) -> WorkspaceClient:
    """Return a client with bounded waits; `settings` are `databricks.sdk.core.Config`'s and win over the environment.

    Blocks: building one may ask the host, or a token endpoint, or run a command line tool.

    Raises: whatever the library raises; `Databricks` translates it.
    """
    bounded = {
        "http_timeout_seconds": HTTP_TIMEOUT,
        "retry_timeout_seconds": RETRY_TIMEOUT,
        "clock": _ImpatientClock(),
        "product": "countersign",
        "product_version": "0.1.0",
    }
    config = Config(**{**bounded, **settings})
    return WorkspaceClient(config=config)


class Databricks:
    """The Jobs API of one workspace, for use in steps.

    `connect` builds the client. It is called in a thread, when the first call needs it, and again if it failed.
    An object belongs to one event loop.
    """

    def __init__(
        self,
        connect: Callable[[], WorkspaceClient] = workspace_client,
        *,
        concurrency: int = 16,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._connect = connect
        self._connection = _Connection(connect)
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._call_timeout = call_timeout

    async def trigger(self, job_id: int, *, idempotency_token: str, parameters: Mapping[str, str]) -> int:
        """Return the id of the run this token stands for, starting it if there is none yet.

        The run may be in any state, long over too: read it. When this raises `StepUnavailable`, or is cancelled, the
        run may have been started nevertheless; asking again with the same token finds it.

        Raises:
            StepRefused: unknown job, undeclared parameter, no permission, unusable credentials, or the token's run was
                deleted.
            StepUnavailable: no usable answer in time.
        """

        def run_now(client: WorkspaceClient) -> int:
            wait = client.jobs.run_now(job_id, idempotency_token=idempotency_token, job_parameters=dict(parameters))
            return int(wait.bind()["run_id"])

        return await self._call(run_now, hidden=parameters.values())

    async def read(self, run_id: int) -> Run:
        """Return the run as it is now. A state this code does not know is taken as in flight.

        Raises:
            RunGone: there is no such run (a `StepRefused`).
            StepRefused: no permission, unusable credentials.
            StepUnavailable: no usable answer in time.
        """

        def get_run(client: WorkspaceClient) -> Run | None:
            try:
                run = client.jobs.get_run(run_id)
            except ResourceDoesNotExist:
                return None

            return _as_run(run_id, run)

        run = await self._call(get_run)

        if run is None:
            raise RunGone(run_id)

        return run

    async def cancel(self, run_id: int) -> None:
        """Ask for the run's end. That takes a while, so the run may go on after this has returned.

        A run that is over or gone is no error: what was wanted is so.

        Raises:
            StepRefused: no permission, unusable credentials.
            StepUnavailable: no usable answer in time; the run may have been cancelled nevertheless.
        """

        def cancel_run(client: WorkspaceClient) -> None:
            # The run id is the only parameter, so an invalid one means that there is no such run.
            with contextlib.suppress(ResourceDoesNotExist, InvalidParameterValue, InvalidState):
                client.jobs.cancel_run(run_id)

        await self._call(cancel_run)

    async def _call[T](self, ask: Callable[[WorkspaceClient], T], *, hidden: Iterable[str] = ()) -> T:
        connection = self._connection

        def attempt() -> T | StepRefused | StepUnavailable:
            try:
                client = connection.client()
            except _LIBRARY_ERRORS as error:
                return _not_connected(error)

            try:
                return ask(client)
            except _LIBRARY_ERRORS as error:
                return _translated(error, hidden)

        try:
            with anyio.fail_after(self._call_timeout):
                async with self._limiter:
                    answer = await _in_daemon_thread(attempt)
        except TimeoutError:
            answer = StepUnavailable("Databricks did not answer in time")

            # A client stuck in a connection, or in signing in, would hold up every later call.
            if self._connection is connection:
                self._connection = _Connection(self._connect)

        # Raised here and not where it was caught, so that the library's error, whose text may hold the whole request,
        # is not the context of ours.
        if isinstance(answer, StepRefused | StepUnavailable):
            raise answer

        return answer


class _Connection:
    """A client that is built when first asked for, once; a failure to build it is not kept."""

    def __init__(self, connect: Callable[[], WorkspaceClient]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._client: WorkspaceClient | None = None

    def client(self) -> WorkspaceClient:
        with self._lock:
            if self._client is None:
                # At DEBUG the library logs request bodies, so callback addresses; and it warns, with the answer's body,
                # about each host that has no discovery document. What matters is raised.
                logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
                self._client = self._connect()

            return self._client


class _AskedToWaitError(OSError):
    def __init__(self, seconds: float) -> None:
        super().__init__("asked to wait")
        self.seconds = seconds


class _ImpatientClock(RealClock):
    """The library sleeps for as long as a Retry-After says, its own deadline notwithstanding. This clock will not."""

    def sleep(self, seconds: float) -> None:
        if seconds > LONGEST_SLEEP:
            raise _AskedToWaitError(seconds)

        super().sleep(max(0.0, seconds))


async def _in_daemon_thread[T](work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises; cancelled, leave the thread to itself.

    A thread of anyio's or asyncio's pool is joined when the interpreter exits: a process told to stop would hang for as
    long as Databricks is silent. A daemon thread is not.
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

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, settle)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="databricks", daemon=True).start()
    return await done


def _as_run(run_id: int, run: jobs.Run) -> Run:
    state, status = run.state, run.status
    names = [part.value for part in (state and state.life_cycle_state, status and status.state) if part]
    details = status.termination_details if status else None
    result = (state.result_state if state else None) or (details.code if details else None)
    message = (state.state_message if state else None) or (details.message if details else None) or ""
    parameters = {each.name: each.value or each.default or "" for each in run.job_parameters or () if each.name}
    page = run.run_page_url or ""

    # The library drops a value it does not know, so a state newer than it is no state at all here.
    if not names:
        logger.warning("Databricks run %d is in a state unknown here and taken as in flight", run_id)

    return Run(
        run_id=run.run_id or run_id,
        job_id=run.job_id or 0,
        over=bool(names) and names[0] in _OVER,
        life_cycle_state=_RENAMED.get(names[0], names[0]) if names else "UNKNOWN",
        result_state=result.value if result else None,
        message=_cleaned(message, parameters.values())[:500],
        page_url=page if page.startswith(("https://", "http://")) else None,
        parameters=parameters,
    )


def _not_connected(error: BaseException) -> StepRefused | StepUnavailable:
    """Return what a failure to build the client means.

    The library wraps everything in ValueError, so what it was shows in the causes only.
    """
    for cause in _causes(error):
        if isinstance(cause, (OSError, GoogleAuthError)) and not isinstance(cause, FileNotFoundError):
            return _translated(cause) if isinstance(cause, DatabricksError) else StepUnavailable(_UNREACHABLE)

    return StepRefused(f"the Databricks client is not configured: {_cleaned(str(error), ())[:300]}")


def _translated(error: BaseException, hidden: Iterable[str] = ()) -> StepRefused | StepUnavailable:
    if isinstance(error, _AskedToWaitError):
        return StepUnavailable("Databricks asks to come back later", retry_after=error.seconds)

    # The library's own retries have run out: whatever it was, it took it for something that passes.
    if type(error) is TimeoutError:
        return StepUnavailable(_UNREACHABLE, retry_after=getattr(error.__cause__, "retry_after_secs", None))

    if isinstance(error, DatabricksError):
        return _answered(error, hidden)

    if isinstance(error, OSError | GoogleAuthError) and not isinstance(error, ValueError):
        return StepUnavailable(_UNREACHABLE)

    # What is both is an address that requests cannot use; a ValueError alone may be the token endpoint's refusal.
    unusable = isinstance(error, OSError) or str(error).startswith(_OAUTH_REFUSALS)

    if isinstance(error, ValueError) and unusable and not isinstance(error, json.JSONDecodeError):
        return StepRefused(f"the Databricks client cannot be used: {_cleaned(str(error), hidden)[:300]}")

    return StepUnavailable("Databricks, or its sign-in, sent an answer that cannot be read")


def _answered(error: DatabricksError, hidden: Iterable[str]) -> StepRefused | StepUnavailable:
    for kind, reason in _REFUSALS:
        if isinstance(error, kind) and not isinstance(error, Aborted):
            detail = _cleaned(str(error), hidden)[:300]
            return StepRefused(f"Databricks refused: {reason}" + (f" ({detail})" if detail else ""))

    return StepUnavailable(f"Databricks failed with {type(error).__name__}", retry_after=error.retry_after_secs)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error

    while cause is not None:
        yield cause
        cause = cause.__cause__


def _cleaned(text: str, hidden: Iterable[str]) -> str:
    """Return `text` in one line, without the values in `hidden`, addresses, and what looks like a token.

    A guess by shape, made for other people's messages; it is no reason to put a secret into a text of ours.
    """
    text = _DEBUG_INFO.sub("", text)

    for value in sorted(filter(None, hidden), key=len, reverse=True):
        for spelling in {value, json.dumps(value)[1:-1]}:
            # A short value is cut only where it stands alone: a parameter "1" must not eat every digit.
            edge = r"\b" if len(value) < 8 and re.fullmatch(r"\w+", value) else ""  # noqa: PLR2004
            text = re.sub(edge + re.escape(spelling) + edge, lambda _: _CUT, text)

    text = _TOKEN.sub(_CUT, _ADDRESS.sub(_CUT, text))
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
