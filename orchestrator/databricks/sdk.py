"""The Databricks library, with limited waits and with our errors in place of its own.

This is the only file that imports databricks. Only `jobs` imports it, and late, because it takes a second and 45 MB.
Every error of the library becomes one of two of ours: `StepRefused` if retrying is pointless, and `StepUnavailable` if
it may help. This file refuses to pass on unread what Databricks says, because that may echo what was sent: addresses,
tokens and parameter values are cut out of every text that leaves it.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from databricks.sdk import WorkspaceClient, errors
from databricks.sdk.clock import RealClock
from databricks.sdk.core import Config, DatabricksError
from google.auth.exceptions import GoogleAuthError

from orchestrator.databricks.pace import longest_sleep
from orchestrator.databricks.reading import read_output, read_run
from orchestrator.databricks.run import ActiveRuns, JobRefused
from orchestrator.databricks.workspace_address import workspace_address
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.text.redaction import without_echoes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from orchestrator.config.secret import Secret
    from orchestrator.databricks.run import JobRun, RunOutput

logger = logging.getLogger(__name__)

#: Seconds that one request of the library may wait for the server.
HTTP_TIMEOUT: Final = 30.0

#: Seconds after which the library makes no further try of its own.
RETRY_TIMEOUT: Final = 20

#: Seconds that the library may sleep between two tries: its own longest pause. A longer Retry-After ends the call.
LONGEST_SLEEP: Final = 11.0

#: How many runs a page of a list has: the most that the API gives.
_LIST_PAGE: Final = 25

_REFUSALS: Final = (
    (errors.Unauthenticated, "the credentials were not accepted"),
    (errors.PermissionDenied, "permission denied"),
    (errors.NotFound, "there is no such thing"),
    (errors.InvalidParameterValue, "a parameter is invalid"),
    (errors.InvalidState, "not in this state"),
    (errors.BadRequest, "the request is invalid"),
    (errors.ResourceConflict, "conflict"),
    (errors.NotImplemented, "not supported"),
)

# RFC 6749 section 5.2: what a token endpoint replies when retrying is pointless.
_OAUTH_REFUSALS: Final = ("invalid_client", "invalid_grant", "invalid_scope", "unauthorized_client", "access_denied")

# Everything the library is known to raise: its own errors, those of requests and the built-in TimeoutError are
# OSErrors; credentials raise ValueError and, on Google Cloud, GoogleAuthError; an answer of another shape than the
# API's is a KeyError, TypeError or AttributeError inside it.
_BUILT_IN: Final = (OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError)
_LIBRARY_ERRORS: Final = (*_BUILT_IN, GoogleAuthError)

_DEBUG_INFO: Final = re.compile(r"\.? ?(?:Config|Env): .*|This is likely a bug in the Databricks SDK.*", re.DOTALL)
_UNREACHABLE: Final = "Databricks could not be reached"
_UNSENDABLE: Final = "a DATABRICKS_* setting holds a character that cannot be sent; is a token mistyped?"


def workspace_client(**settings: Any) -> WorkspaceClient:
    """Return a client with limited waits; `settings` are `databricks.sdk.core.Config`'s and win over the environment.

    Building a client may call the host or a token endpoint, or run a command line tool.

    Raises: whatever the library raises; `connect` translates it.
    """
    bounded = {"http_timeout_seconds": HTTP_TIMEOUT, "retry_timeout_seconds": RETRY_TIMEOUT, "clock": _ImpatientClock()}
    product = {"product": "countersign", "product_version": "0.1.0"}
    return WorkspaceClient(config=Config(**{**bounded, **product, **settings}))


def connect(variables: Mapping[str, Secret] = MappingProxyType({}), **settings: Any) -> SdkWorkspace:
    """Return the workspace that the variables name. They have the library's names, and the settings win over them.

    DATABRICKS_OIDC_TOKEN is not one of them: the library looks that up itself, in the process environment only.

    Raises:
        StepRefused: no workspace is named, or the settings cannot work.
        StepUnavailable: something that signing in needs could not be reached.
    """
    # At DEBUG the library logs request bodies, and so callback addresses. It also warns about each host that has no
    # discovery document, with the response's body. What matters is raised.
    logging.getLogger("databricks.sdk").setLevel(logging.ERROR)

    try:
        return SdkWorkspace(workspace_client(**_addressed({**_named(variables), **settings})))
    except _LIBRARY_ERRORS as error:
        failure = _not_connected(error)

    raise failure  # not where it was caught, as in `_answer`


def _named(variables: Mapping[str, Secret]) -> dict[str, str]:
    found = {}

    for attribute in Config.attributes():
        given = [name for name in (attribute.env, *attribute.env_aliases) if name in variables]

        if given:
            found[attribute.name] = variables[given[0]].text()

    return found


def _addressed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with a host that the library understands, and the workspace's id if the host's query has it.

    Raises:
        StepRefused: the host is not the address of a workspace.
    """
    given = str(settings.get("host") or "").strip()

    if not given:  # the library looks for one elsewhere
        return dict(settings)

    try:
        host, workspace_id = workspace_address(given)
    except ValueError as error:
        raise StepRefused(f"the Databricks client is not configured: DATABRICKS_HOST {error}") from None

    named = {} if workspace_id is None else {"workspace_id": workspace_id}

    return {**named, **settings, "host": host}


class SdkWorkspace:
    """The calls, made by the library's client."""

    def __init__(self, client: WorkspaceClient) -> None:
        self._client = client

    def run_now(self, job_id: int, idempotency_token: str, parameters: Mapping[str, str]) -> int:
        """Return the run's id from the response, without waiting for the run's end."""

        def ask() -> int:
            given = dict(parameters)
            wait = self._client.jobs.run_now(job_id, idempotency_token=idempotency_token, job_parameters=given)
            return int(wait.bind()["run_id"])

        try:
            return _answer(ask, hidden=parameters.values())
        except StepRefused as error:
            refused = JobRefused(str(error), f"{self._client.config.host}/jobs/{job_id}")

        raise refused

    def get_run(self, run_id: int) -> JobRun | None:
        """Return the run as it is now."""

        def ask() -> JobRun | None:
            try:
                return read_run(run_id, self._client.jobs.get_run(run_id).as_dict())
            except errors.ResourceDoesNotExist:
                return None

        return _answer(ask)

    def get_output(self, run_id: int) -> RunOutput | None:
        """Return the output of the run of a task."""

        def ask() -> RunOutput | None:
            try:
                return read_output(self._client.jobs.get_run_output(run_id).as_dict())
            except errors.ResourceDoesNotExist:
                return None

        return _answer(ask)

    def active_runs(self, page: str | None) -> ActiveRuns:
        """Return a page of the runs that are in flight."""
        query = {"active_only": "true", "limit": _LIST_PAGE} | ({} if page is None else {"page_token": page})

        def ask() -> ActiveRuns:
            # The library's own method fetches all pages, however many there are.
            found: Any = self._client.api_client.do("GET", "/api/2.2/jobs/runs/list", query=query)
            run_ids = frozenset(int(run["run_id"]) for run in found.get("runs") or ())

            return ActiveRuns(run_ids=run_ids, next_page=found.get("next_page_token") or None)

        return _answer(ask)

    def cancel_run(self, run_id: int) -> None:
        """Ask Databricks to cancel the run."""

        def ask() -> None:
            # The run id is the only parameter, so an invalid one means that there is no such run.
            with contextlib.suppress(errors.ResourceDoesNotExist, errors.InvalidParameterValue, errors.InvalidState):
                self._client.jobs.cancel_run(run_id)

        _answer(ask)


class _AskedToWaitError(OSError):
    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class _ImpatientClock(RealClock):
    """The library sleeps for as long as a Retry-After says, even past its own deadline. This clock does not."""

    def sleep(self, seconds: float) -> None:
        if seconds > LONGEST_SLEEP:
            raise _AskedToWaitError("Databricks asks to come back later", seconds)

        if (allowed := longest_sleep.get()) is not None and seconds > allowed:
            raise _AskedToWaitError("Databricks is overloaded or cannot be reached", seconds)

        super().sleep(max(0.0, seconds))


def _answer[T](ask: Callable[[], T], *, hidden: Iterable[str] = ()) -> T:
    try:
        return ask()
    except UnicodeEncodeError:
        # The error's text shows the character, which is part of a token.
        failure: StepRefused | StepUnavailable = StepRefused(_UNSENDABLE)
    except _LIBRARY_ERRORS as error:
        failure = _translated(error, hidden)

    # Raised here and not where it was caught, so that the library's error, whose text may hold the whole request, does
    # not become the context of ours.
    raise failure


def _not_connected(error: BaseException) -> StepRefused | StepUnavailable:
    """Return what a failure to build the client means.

    The library wraps everything in ValueError, so only the causes show what happened.
    """
    for cause in _causes(error):
        if isinstance(cause, UnicodeEncodeError):
            return StepRefused(_UNSENDABLE)

        if isinstance(cause, (OSError, GoogleAuthError)) and not isinstance(cause, FileNotFoundError):
            return _translated(cause) if isinstance(cause, DatabricksError) else StepUnavailable(_UNREACHABLE)

    return StepRefused(f"the Databricks client is not configured: {_cleaned(error)[:300]}")


def _translated(error: BaseException, hidden: Iterable[str] = ()) -> StepRefused | StepUnavailable:
    if isinstance(error, _AskedToWaitError):
        return StepUnavailable(str(error), retry_after=error.seconds)

    # The library's own retries have run out, so it considered the failure temporary.
    if type(error) is TimeoutError:
        return StepUnavailable(_UNREACHABLE, retry_after=getattr(error.__cause__, "retry_after_secs", None))

    if isinstance(error, DatabricksError):
        return _answered(error, hidden)

    if isinstance(error, OSError | GoogleAuthError) and not isinstance(error, ValueError):
        return StepUnavailable(_UNREACHABLE)

    # An OSError that is a ValueError too means an address that requests cannot use. A ValueError alone may be the token
    # endpoint's refusal.
    unusable = isinstance(error, OSError) or str(error).startswith(_OAUTH_REFUSALS)

    if isinstance(error, ValueError) and unusable and not isinstance(error, json.JSONDecodeError):
        return StepRefused(f"the Databricks client cannot be used: {_cleaned(error, hidden)[:300]}")

    return StepUnavailable("Databricks, or its sign-in, sent a response that cannot be read")


def _answered(error: DatabricksError, hidden: Iterable[str]) -> StepRefused | StepUnavailable:
    for kind, reason in _REFUSALS:
        if isinstance(error, kind) and not isinstance(error, errors.Aborted):
            detail = _cleaned(error, hidden)[:300]
            return StepRefused(f"Databricks refused: {reason}" + (f" ({detail})" if detail else ""))

    return StepUnavailable(f"Databricks failed with {type(error).__name__}", retry_after=error.retry_after_secs)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error

    while cause is not None:
        yield cause
        cause = cause.__cause__


def _cleaned(error: BaseException, hidden: Iterable[str] = ()) -> str:
    return without_echoes(_DEBUG_INFO.sub("", str(error)), hidden)
