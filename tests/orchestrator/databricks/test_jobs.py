"""The Databricks step, by the real client over real HTTP, against the emulator.

Long because all of it shares one emulator, one clock and one list of what may not be repeated.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from databricks.sdk.clock import RealClock
from databricks.sdk.core import CredentialsStrategy

from orchestrator.config.secret import Secret
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.run import JobsApi, RunGone, idempotency_token
from orchestrator.databricks.sdk import connect as connect_workspace
from orchestrator.databricks.sdk import workspace_client
from orchestrator.databricks.workspace_address import workspace_address
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Fault, Job

URL = "https://example.com/base/callbacks/eyJwIjoicGlwZWxpbmUuMToxIn0.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
PASSWORD = "hunter2-hunter2"
HELD, DECLARING, FAILING, FORBIDDEN, UNKNOWN = 1, 2, 3, 4, 5
JOBS = {
    HELD: Job(fate="hold"),
    DECLARING: Job(fate="hold", parameters={"callback_url": "", "table": "trips"}),
    FAILING: Job(fate="fails"),
    FORBIDDEN: Job(fate="hold", permitted=False),
}


@pytest.fixture(autouse=True)
def _nothing_ambient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("DATABRICKS_", "ARM_", "GOOGLE_", "HTTP", "http")):
            monkeypatch.delenv(name)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(jobs=JOBS) as one:
        yield one


@pytest.fixture
def databricks(emulator: Emulator) -> Databricks:
    return Databricks(connector(emulator))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a sleep moves forward, and the sleeps that were requested."""
    now, naps = [1_000.0], list[float]()

    def sleep(_: RealClock, seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(RealClock, "sleep", sleep)
    monkeypatch.setattr(RealClock, "time", lambda _: now[0])
    return naps


def connector(emulator: Emulator, **settings: Any) -> Callable[[], JobsApi]:
    return functools.partial(connect_workspace, **({"host": emulator.url, "token": emulator.token} | settings))


def sent(emulator: Emulator, path: str) -> int:
    return sum(each["path"] == path for each in emulator.workspace.requests)


def spoken(error: BaseException) -> str:
    """All that a log could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)


# Triggering


async def test_a_triggered_run_carries_the_token_and_the_parameters(emulator: Emulator, databricks: Databricks) -> None:
    run_id = await databricks.trigger(HELD, idempotency_token="t", parameters={"callback_url": URL, "day": "1"})

    (run,) = emulator.workspace.runs()
    assert (run.run_id, run.idempotency_token) == (run_id, "t")
    assert run.parameters == {"callback_url": URL, "day": "1"}


async def test_the_same_token_gives_the_same_run_even_when_that_has_failed(
    emulator: Emulator, databricks: Databricks
) -> None:
    first = await databricks.trigger(FAILING, idempotency_token="t", parameters={})

    assert await databricks.trigger(FAILING, idempotency_token="t", parameters={}) == first
    assert (await databricks.read(first)).result_state == "FAILED"
    assert emulator.workspace.runs_created("t") == 1


async def test_many_triggers_at_once_start_one_run(emulator: Emulator, databricks: Databricks) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(
                functools.partial(databricks.trigger, HELD, idempotency_token="t", parameters={"callback_url": URL})
            )

    assert sent(emulator, "run-now") == 40
    assert emulator.workspace.runs_created() == 1


async def test_a_lost_answer_is_asked_for_again_by_the_library_and_starts_no_second_run(
    emulator: Emulator, databricks: Databricks, slept: list[float]
) -> None:
    emulator.workspace.fail_next(Fault(kind="lost", count=2))

    run_id = await databricks.trigger(HELD, idempotency_token="t", parameters={})

    assert sent(emulator, "run-now") == 3
    assert [run.run_id for run in emulator.workspace.runs()] == [run_id]


def test_an_idempotency_token_is_the_sha256_of_the_promise_id_and_the_opening_and_fits() -> None:
    token = idempotency_token("databricks_pipeline.nightly:1", 1_799_999_000_123)

    assert token == "0cc5336cd812fb18f791ca84b79a376ccc37b45acbcd5df42e94eac42d160dcb"
    assert len(token) == 64


def test_a_wait_that_was_opened_before_keeps_the_idempotency_token_that_found_its_run() -> None:
    before = "8dbfd6f65a71094562e2970582ecb3bc27e8b9fbfd928615fc23bf74f9d5e66c"

    assert idempotency_token("databricks_pipeline.nightly:1", None) == before


# Refused permanently


@pytest.mark.parametrize(
    ("job_id", "token", "parameters", "reason"),
    [
        (UNKNOWN, "t", {}, "Job 5 does not exist"),
        (FORBIDDEN, "t", {}, "permission denied"),
        (DECLARING, "t", {"colour": "red"}, "'colour'"),
        (HELD, "t" * 65, {}, "at most 64"),
    ],
)
async def test_what_asking_again_cannot_change_is_refused(
    databricks: Databricks, job_id: int, token: str, parameters: dict[str, str], reason: str
) -> None:
    with pytest.raises(StepRefused, match=reason):
        await databricks.trigger(job_id, idempotency_token=token, parameters=parameters)


async def test_the_token_of_a_deleted_run_is_refused(emulator: Emulator, databricks: Databricks) -> None:
    run_id = await databricks.trigger(FAILING, idempotency_token="t", parameters={})
    emulator.workspace.delete({"run_id": run_id})

    with pytest.raises(StepRefused, match="deleted"):
        await databricks.trigger(FAILING, idempotency_token="t", parameters={})


async def test_credentials_that_are_not_accepted_are_refused(emulator: Emulator) -> None:
    with pytest.raises(StepRefused, match="Invalid access token"):
        await Databricks(connector(emulator, token="other")).read(1)


@pytest.mark.parametrize(("status", "code"), [(401, "401"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (501, "X")])
async def test_a_refusing_status_is_refused(emulator: Emulator, databricks: Databricks, status: int, code: str) -> None:
    emulator.workspace.fail_next(Fault(kind="status", status=status, error_code=code, message="no"))

    with pytest.raises(StepRefused, match="refused"):
        await databricks.trigger(HELD, idempotency_token="t", parameters={})


async def test_a_client_without_any_configuration_is_refused() -> None:
    with pytest.raises(StepRefused, match="not configured"):
        await Databricks().read(1)


async def test_a_client_with_two_kinds_of_credentials_is_refused_without_showing_them(emulator: Emulator) -> None:
    connect = connector(emulator, username="somebody", password=PASSWORD)

    with pytest.raises(StepRefused, match="more than one authorization method") as refused:
        await Databricks(connect).read(1)

    assert PASSWORD not in spoken(refused.value)
    assert emulator.url not in spoken(refused.value)


async def test_a_token_endpoint_that_knows_no_such_client_is_a_refusal_and_one_that_fails_is_not(
    emulator: Emulator,
) -> None:
    with pytest.raises(StepRefused, match="invalid_client"):
        await Databricks(connector(emulator, credentials_strategy=SignIn("invalid_client: unknown"))).read(1)

    with pytest.raises(StepUnavailable):
        await Databricks(connector(emulator, credentials_strategy=SignIn("b'<html>Bad Gateway'"))).read(1)


class SignIn(CredentialsStrategy):
    """A sign-in that fails as the library's own do."""

    def __init__(self, message: str) -> None:
        self.message = message

    def auth_type(self) -> str:
        return "sign-in"

    def __call__(self, _: object) -> Callable[[], dict[str, str]]:
        def headers() -> dict[str, str]:
            raise ValueError(self.message)

        return headers


# Unavailable


@pytest.mark.parametrize("status", [429, 503])
async def test_a_long_retry_after_is_handed_on_and_not_slept(
    emulator: Emulator, databricks: Databricks, slept: list[float], status: int
) -> None:
    emulator.workspace.fail_next(Fault(kind="status", status=status, retry_after=3600))

    with pytest.raises(StepUnavailable) as unavailable:
        await databricks.trigger(HELD, idempotency_token="t", parameters={})

    assert unavailable.value.retry_after is not None
    assert unavailable.value.retry_after >= 3600
    assert slept == []


async def test_a_short_retry_after_is_slept_by_the_library(
    emulator: Emulator, databricks: Databricks, slept: list[float]
) -> None:
    emulator.workspace.fail_next(Fault(kind="status", status=429, retry_after=2))

    await databricks.trigger(HELD, idempotency_token="t", parameters={})

    assert len(slept) == 1
    assert slept[0] >= 2


@pytest.mark.parametrize("kind", ["refused", "lost", "status"])
async def test_the_library_gives_up_soon(
    emulator: Emulator, databricks: Databricks, slept: list[float], kind: Any
) -> None:
    emulator.workspace.fail_next(Fault(kind=kind, count=1_000))

    with pytest.raises(StepUnavailable):
        await databricks.trigger(HELD, idempotency_token="t", parameters={})

    assert sum(slept) < 30


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=500, error_code="INTERNAL_ERROR"),
        Fault(kind="status", status=504, error_code="DEADLINE_EXCEEDED"),
        Fault(kind="status", status=502, error_code="BAD_GATEWAY"),
        Fault(kind="status", status=409, error_code="ABORTED"),
        Fault(kind="status", status=400, error_code="REQUEST_LIMIT_EXCEEDED"),
        Fault(kind="garbage", message="<html>sign in</html>"),
        Fault(kind="garbage", message=""),
        Fault(kind="garbage", message="{}"),
        Fault(kind="garbage", message="[]"),
        Fault(kind="garbage", message='{"run_id": null}'),
        Fault(kind="garbage", message='{"run_id": "x"}'),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.message}",
)
async def test_what_may_pass_is_unavailable(emulator: Emulator, databricks: Databricks, fault: Fault) -> None:
    emulator.workspace.fail_next(fault)

    with pytest.raises(StepUnavailable):
        await databricks.trigger(HELD, idempotency_token="t", parameters={})

    await databricks.trigger(HELD, idempotency_token="t", parameters={})
    assert emulator.workspace.runs_created("t") == 1


async def test_a_workspace_that_is_not_there_is_unavailable(slept: list[float]) -> None:
    with Emulator() as gone:
        pass

    with pytest.raises(StepUnavailable, match="could not be reached"):
        await Databricks(connector(gone)).read(1)


async def test_a_sign_in_that_could_not_be_discovered_is_unavailable(emulator: Emulator) -> None:
    connect = connector(emulator, token=None, client_id="id", client_secret="secret")

    with pytest.raises(StepUnavailable):
        await Databricks(connect).read(1)


async def test_a_silent_workspace_is_given_up_and_a_fresh_client_is_tried_next(emulator: Emulator) -> None:
    built = []

    def connect() -> JobsApi:
        built.append(threading.current_thread())
        return connector(emulator)()

    databricks = Databricks(connect, call_timeout=2)
    emulator.workspace.fail_next(Fault(kind="slow", seconds=3_600))

    with pytest.raises(StepUnavailable, match="in time"):
        await databricks.trigger(HELD, idempotency_token="t", parameters={})

    patient = Databricks(connect)
    await patient.trigger(HELD, idempotency_token="t", parameters={})
    assert emulator.workspace.runs_created() == 1

    emulator.workspace.fail_next(Fault(kind="slow", seconds=3_600))

    with pytest.raises(StepUnavailable, match="in time"):
        await databricks.trigger(HELD, idempotency_token="t", parameters={})

    assert len(built) == 3


@pytest.mark.slow
def test_a_process_told_to_stop_does_not_wait_for_a_silent_workspace(emulator: Emulator) -> None:
    emulator.workspace.fail_next(Fault(kind="slow", on="*", seconds=3_600))
    program = f"""
        import anyio
        from functools import partial
        from orchestrator.databricks.jobs import Databricks
        from orchestrator.databricks.sdk import connect

        async def main():
            silent = partial(connect, host={emulator.url!r}, token="t", http_timeout_seconds=3600)
            with anyio.move_on_after(1):
                await Databricks(silent).read(1)

        anyio.run(main)
        print("stopped")
    """

    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )

    assert ran.stdout == "stopped\n"


# Building the client


async def test_the_client_is_built_once_when_first_needed_and_in_a_thread(emulator: Emulator) -> None:
    built = []

    def connect() -> JobsApi:
        built.append(threading.current_thread())
        return connector(emulator)()

    databricks = Databricks(connect)
    assert built == []

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(databricks.cancel, 7)

    assert len(built) == 1
    assert built[0] is not threading.main_thread()


async def test_a_client_that_could_not_be_built_is_tried_again(emulator: Emulator) -> None:
    answers: list[Callable[[], JobsApi]] = [
        connector(emulator),
        connector(emulator, password="x", username="y"),
    ]

    def connect() -> JobsApi:
        return answers.pop()()

    databricks = Databricks(connect)

    with pytest.raises(StepRefused):
        await databricks.cancel(7)

    await databricks.cancel(7)


def named(emulator: Emulator, **others: str) -> dict[str, Secret]:
    variables = {"DATABRICKS_HOST": emulator.url, "DATABRICKS_TOKEN": emulator.token, **others}
    return {name: Secret(value) for name, value in variables.items()}


async def test_a_host_and_a_token_that_only_the_variables_have_are_used(emulator: Emulator) -> None:
    databricks = Databricks(variables=named(emulator))

    await databricks.trigger(HELD, idempotency_token="t", parameters={})

    assert emulator.workspace.runs_created("t") == 1


@pytest.mark.parametrize("rest", ["/?o=1234567890123456", "/", "/browse?o=1#job/5", "/#job/5?o=12", " ", "?o=x"])
async def test_a_host_as_a_browser_shows_it_is_understood(emulator: Emulator, rest: str) -> None:
    databricks = Databricks(variables=named(emulator) | {"DATABRICKS_HOST": Secret(f" {emulator.url}{rest}")})
    await databricks.trigger(HELD, idempotency_token="t", parameters={})

    assert emulator.workspace.runs_created("t") == 1


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("https://adb-123.4.azuredatabricks.net/?o=123", ("https://adb-123.4.azuredatabricks.net", "123")),
        ("adb-123.4.azuredatabricks.net", ("https://adb-123.4.azuredatabricks.net", None)),
        (" dbc-1.cloud.databricks.com/jobs/7?o=5&x=1\n", ("https://dbc-1.cloud.databricks.com", "5")),
        ("https://dbc-1.cloud.databricks.com/browse/folders/9", ("https://dbc-1.cloud.databricks.com", None)),
        ("HTTPS://1.gcp.databricks.com/#job/7?o=5", ("https://1.gcp.databricks.com", "5")),
        ("https://databricks.azure.cn/?o=evil%0d", ("https://databricks.azure.cn", None)),
        ("https://gateway.example/databricks/", ("https://gateway.example/databricks", None)),
        ("http://127.0.0.1:8080/?o=1", ("http://127.0.0.1:8080", "1")),
    ],
)
def test_the_address_of_a_workspace_is_its_host_and_its_id(given: str, understood: tuple[str, str | None]) -> None:
    assert workspace_address(given) == understood


@pytest.mark.parametrize("given", ["https://", "ftp://adb-1.azuredatabricks.net", "two words", "https://[1"])
async def test_an_invalid_host_is_refused_and_its_variable_named(emulator: Emulator, given: str) -> None:
    databricks = Databricks(variables=named(emulator) | {"DATABRICKS_HOST": Secret(given)})

    with pytest.raises(StepRefused, match="DATABRICKS_HOST is not the address"):
        await databricks.read(1)


async def test_variables_win_over_the_process_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "another")

    await Databricks(variables=named(emulator)).trigger(HELD, idempotency_token="t", parameters={})

    assert emulator.workspace.runs_created("t") == 1


async def test_without_variables_the_library_finds_its_profile_itself(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / ".databrickscfg").write_text(f"[DEFAULT]\nhost = {emulator.url}\ntoken = {emulator.token}\n")

    await Databricks().trigger(HELD, idempotency_token="t", parameters={})

    assert emulator.workspace.runs_created("t") == 1


async def test_a_token_file_is_named_by_its_older_variable_too(emulator: Emulator) -> None:
    variables = named(emulator, DATABRICKS_OIDC_TOKEN_FILE="token", DATABRICKS_CONFIG_FILE="none")

    with pytest.raises(StepRefused, match="more than one authorization method configured: file-oidc and pat"):
        await Databricks(variables=variables).read(1)


async def test_what_a_variable_holds_is_not_in_the_refusal(emulator: Emulator) -> None:
    variables = named(emulator, DATABRICKS_USERNAME="somebody", DATABRICKS_PASSWORD=PASSWORD)

    with pytest.raises(StepRefused) as refused:
        await Databricks(variables=variables).read(1)

    assert not [value for value in variables.values() if value.text() in spoken(refused.value)]


def test_the_client_waits_half_a_minute_for_an_answer_and_retries_for_less(emulator: Emulator) -> None:
    config = workspace_client(host=emulator.url, token=emulator.token).config

    assert (config.http_timeout_seconds, config.retry_timeout_seconds) == (30, 20)


# What errors and logs do not say

ECHOES = [
    f"could not parse {URL}",
    f'{{"callback_url": "{URL}/failure"}}',
    URL.replace("/", r"\/"),
    URL.replace(":", "%3A").replace("/", "%2F"),
    f"bad value {URL.rpartition('/')[2]}",
    f"too long: {URL[:80]}... (20 more bytes)",
    'the table is "main\\nraw"',
    "the table is main\nraw",
    f"the password is {PASSWORD}",
    "the region eu is closed, so is (eu)",
]


@pytest.mark.parametrize("message", ECHOES)
@pytest.mark.parametrize("status", [400, 403, 500])
async def test_an_error_that_echoes_what_was_sent_is_not_repeated(
    emulator: Emulator, databricks: Databricks, message: str, status: int
) -> None:
    emulator.workspace.fail_next(Fault(kind="status", status=status, error_code="ERROR", message=message))
    parameters = {"callback_url": URL, "table": "main\nraw", "password": PASSWORD, "region": "eu"}

    with pytest.raises((StepRefused, StepUnavailable)) as failed:
        await databricks.trigger(HELD, idempotency_token="t", parameters=parameters)

    said = spoken(failed.value)
    assert not [secret for secret in ("eyJwIjoi", "0123456789abcdef", "callbacks", "raw", PASSWORD) if secret in said]
    assert not [word for word in str(failed.value).replace("(", " ").replace(")", " ").split() if word == "eu"]


async def test_an_answer_the_library_cannot_parse_does_not_bring_the_request_into_the_error(
    emulator: Emulator, databricks: Databricks
) -> None:
    # The library puts the whole request, up to 10 KB, into such an error's message.
    parameters = {"callback_url": URL, "password": PASSWORD}
    emulator.workspace.fail_next(Fault(kind="status", status=400, body="no JSON and no HTML"))

    with pytest.raises(StepRefused) as refused:
        await databricks.trigger(HELD, idempotency_token="t", parameters=parameters)

    assert PASSWORD not in spoken(refused.value)
    assert "callbacks" not in spoken(refused.value)
    assert "run-now" not in str(refused.value)


async def test_no_error_of_the_library_hangs_on_ours(databricks: Databricks) -> None:
    with pytest.raises(StepRefused) as refused:
        await databricks.trigger(UNKNOWN, idempotency_token="t", parameters={})

    assert refused.value.__context__ is None
    assert refused.value.__cause__ is None


async def test_the_library_logs_no_request_at_any_level(
    emulator: Emulator, databricks: Databricks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    run_id = await databricks.trigger(HELD, idempotency_token="t", parameters={"callback_url": URL})
    await databricks.read(run_id)

    assert "callbacks" not in caplog.text
    assert emulator.token not in caplog.text


# Reading


@pytest.mark.parametrize(
    ("state", "over"),
    [
        *((state, False) for state in ("PENDING", "QUEUED", "RUNNING", "BLOCKED", "WAITING_FOR_RETRY", "TERMINATING")),
        *((state, True) for state in ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")),
    ],
)
async def test_a_run_is_over_in_its_last_states_only(
    emulator: Emulator, databricks: Databricks, *, state: str, over: bool
) -> None:
    run_id = await databricks.trigger(HELD, idempotency_token="t", parameters={})
    emulator.workspace.move(run_id, state, message="because")

    run = await databricks.read(run_id)

    assert (run.over, run.life_cycle_state, run.message) == (over, state, "because")


@pytest.mark.parametrize(
    ("answer", "over", "state", "result"),
    [
        ({"state": {"life_cycle_state": "TERMINATED", "result_state": "TIMEDOUT"}}, True, "TERMINATED", "TIMEDOUT"),
        (
            {"status": {"state": "TERMINATED", "termination_details": {"code": "CLUSTER_ERROR", "message": "lost"}}},
            True,
            "TERMINATED",
            "CLUSTER_ERROR",
        ),
        ({"status": {"state": "WAITING"}}, False, "WAITING_FOR_RETRY", None),
        (
            {"state": {"life_cycle_state": "HIBERNATING"}, "status": {"state": "RUNNING"}},
            False,
            "RUNNING",
            None,
        ),
        (
            {"state": {"life_cycle_state": "EVAPORATED"}, "status": {"state": "TERMINATED"}},
            True,
            "TERMINATED",
            None,
        ),
    ],
)
async def test_the_old_and_the_new_state_are_both_understood(
    emulator: Emulator,
    databricks: Databricks,
    *,
    answer: dict[str, object],
    over: bool,
    state: str,
    result: str | None,
) -> None:
    emulator.workspace.fail_next(Fault(kind="garbage", on="runs/get", message=json.dumps({"run_id": 7, **answer})))

    run = await databricks.read(7)

    assert (run.over, run.life_cycle_state, run.result_state) == (over, state, result)


async def test_a_state_nobody_knows_yet_is_in_flight_and_logged(
    emulator: Emulator, databricks: Databricks, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = await databricks.trigger(HELD, idempotency_token="t", parameters={})
    emulator.workspace.move(run_id, "HIBERNATING")

    run = await databricks.read(run_id)

    assert (run.over, run.life_cycle_state) == (False, "UNKNOWN")
    assert str(run_id) in caplog.text


async def test_a_run_tells_its_parameters_but_does_not_show_them(databricks: Databricks) -> None:
    run_id = await databricks.trigger(DECLARING, idempotency_token="t", parameters={"callback_url": URL})

    run = await databricks.read(run_id)

    assert run.parameters == {"callback_url": URL, "table": "trips"}
    assert (run.run_id, run.job_id) == (run_id, DECLARING)
    assert run.page_url is not None
    assert run.page_url.endswith(f"/run/{run_id}")
    assert "callbacks" not in repr(run)


async def test_a_message_is_one_short_line_without_what_it_echoes(emulator: Emulator, databricks: Databricks) -> None:
    run_id = await databricks.trigger(HELD, idempotency_token="t", parameters={"callback_url": URL})
    emulator.workspace.move(run_id, "TERMINATED", "FAILED", f"failed\x1b[31m\r\n on {URL} " + "and so on " * 100)

    run = await databricks.read(run_id)

    assert run.message.startswith("failed [31m on [...] and so on")
    assert len(run.message) == 500


@pytest.mark.parametrize("page", ["javascript:alert(1)", "https://host/\ud800", "https://host/\n"])
async def test_an_address_that_is_not_of_a_web_page_is_left_out(
    emulator: Emulator, databricks: Databricks, page: str
) -> None:
    answer = json.dumps({"run_id": 7, "run_page_url": page})
    emulator.workspace.fail_next(Fault(kind="garbage", on="runs/get", message=answer))

    assert (await databricks.read(7)).page_url is None


async def test_a_run_that_is_gone_is_distinguished_from_other_refusals(
    emulator: Emulator, databricks: Databricks
) -> None:
    run_id = await databricks.trigger(FAILING, idempotency_token="t", parameters={})
    emulator.workspace.delete({"run_id": run_id})

    with pytest.raises(RunGone, match=str(run_id)) as gone:
        await databricks.read(run_id)

    assert gone.value.run_id == run_id


# Cancelling


async def test_a_cancelled_run_ends(emulator: Emulator, databricks: Databricks) -> None:
    run_id = await databricks.trigger(HELD, idempotency_token="t", parameters={})

    await databricks.cancel(run_id)

    run = await databricks.read(run_id)
    assert (run.over, run.result_state) == (True, "CANCELED")
    assert emulator.workspace.cancels(run_id) == 1


async def test_cancelling_a_run_that_is_over_or_gone_is_no_error(emulator: Emulator, databricks: Databricks) -> None:
    run_id = await databricks.trigger(FAILING, idempotency_token="t", parameters={})

    await databricks.cancel(run_id)
    assert (await databricks.read(run_id)).result_state == "FAILED"

    emulator.workspace.delete({"run_id": run_id})
    await databricks.cancel(run_id)
    await databricks.cancel(404)


async def test_cancelling_without_the_right_to_is_refused(emulator: Emulator, databricks: Databricks) -> None:
    emulator.workspace.fail_next(
        Fault(kind="status", on="runs/cancel", status=403, error_code="PERMISSION_DENIED", message="no")
    )

    with pytest.raises(StepRefused, match="permission denied"):
        await databricks.cancel(1)
