"""Kill -9 anywhere, any number of times: one run per attempt, no acknowledged report is lost, every workflow ends."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engines import resonate_server

from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Fault, Job
from orchestrator.testing.processes import Service, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.testing.emulator.workspace import Run

NOTEBOOK, HOLDS, DIES = 1, 2, 3
JOBS = {NOTEBOOK: Job(), HOLDS: Job(fate="hold"), DIES: Job(fate="dies")}
CRASHING = str(Path(__file__).with_name("crashing_receiver.py"))
QUICK = {"callback_delay": "0.1"}

#: How many times a pipeline that succeeds changes the engine: start, take the task, open the wait, begin and record the
#: check whether it is still wanted, begin the trigger, schedule the watcher, record the trigger, suspend, settle, take
#: the task again, end. One that waits in memory is neither suspended nor taken again.
CHANGES = 12
CHANGES_IN_MEMORY = 10


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(jobs=JOBS) as one:
        yield one


def environment(emulator: Emulator, *, cached: int = 1000) -> dict[str, str]:
    access = {"DATABRICKS_HOST": emulator.url, "DATABRICKS_TOKEN": emulator.token}

    return access | {"COUNTERSIGN_CACHED_WORKFLOWS": str(cached)}


def start(service: Service, name: str, **request: object) -> int:
    """Start a pipeline, with retries until there is a response; return its status."""
    return asked(service, "PUT", f"/workflows/databricks_pipeline/{name}", request)


def asked(service: Service, method: str, path: str, body: object, token: str | None = None) -> int:
    end = time.monotonic() + 60

    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            status = service.ask(method, path, body, token=token).status

            if status != 503:
                return status

        if service.died():
            service.start()

        time.sleep(0.05)

    pytest.fail(f"{method} {path} never got a response")


def ended(service: Service, name: str) -> dict[str, object]:
    path = f"/workflows/databricks_pipeline/{name}"
    wait_until(f"{name} is over", lambda: service.ask("GET", path).document.get("state") != "running", seconds=90)
    document: dict[str, object] = service.ask("GET", path).document
    return document


def runs_of(emulator: Emulator, job: int) -> list[Run]:
    return [run for run in emulator.workspace.runs() if run.job_id == job]


@pytest.mark.timeout(900)  # dozens of starts of the receiver, on a busy machine ten seconds each
@pytest.mark.parametrize("kept", [False, True], ids=["suspended", "in memory"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_change_of_the_engine_starts_no_second_run_and_loses_no_answer(
    tmp_path: Path, emulator: Emulator, moment: str, *, kept: bool
) -> None:
    # The first pipeline of a process is suspended in any case.
    first = range(1, CHANGES + 1)
    numbers = range(len(first) + 1, len(first) + CHANGES_IN_MEMORY + 1) if kept else first
    crashes = 0

    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        created = emulator.workspace.runs_created()
        engine = f"sqlite:///{folder}/engine.db"
        # One workspace for all: the same id would have the same token, and so get the existing run.
        name = f"a{number}"
        values = environment(emulator, cached=1000 if kept else 0)

        with Service(folder, engine, environment=values, command=[CRASHING]) as crashing:
            crashing.start(str(number), moment)

            if kept:
                start(crashing, f"{name}-first", job_id=NOTEBOOK, parameters=QUICK)
                assert ended(crashing, f"{name}-first")["state"] == "succeeded"

            with contextlib.suppress(OSError):
                crashing.ask("PUT", f"/workflows/databricks_pipeline/{name}", {"job_id": NOTEBOOK, "parameters": QUICK})

            wait_until("the receiver has died", crashing.died)
            crashes += 1
            crashing.start("0", moment)
            start(crashing, name, job_id=NOTEBOOK, parameters=QUICK)

            assert ended(crashing, name)["state"] == "succeeded"
            assert emulator.workspace.runs_created() == created + 1 + kept

    assert crashes == len(numbers)


@pytest.mark.timeout(900)  # dozens of starts of the receiver, on a busy machine ten seconds each
@pytest.mark.parametrize(
    ("kind", "cached"), [("sqlite", 1000), ("sqlite", 1), ("sqlite", 0), ("server", 1000), ("postgres", 1000)]
)
def test_kills_at_random_moments_with_many_pipelines_under_way_lose_and_repeat_nothing(
    tmp_path: Path, emulator: Emulator, kind: str, cached: int, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(kind)  # noqa: S311 - the same moments every time
    pipelines = {f"p{n}": (NOTEBOOK, HOLDS, DIES)[n % 3] for n in range(18)}

    with contextlib.ExitStack() as stack:
        match kind:
            case "server":
                engine = stack.enter_context(resonate_server(tmp_path)).url
            case "postgres":
                engine = request.getfixturevalue("database").fresh()
            case _:
                engine = f"sqlite:///{tmp_path}/engine.db"

        service = stack.enter_context(Service(tmp_path, engine, environment=environment(emulator, cached=cached)))
        service.start()
        emulator.workspace.fail_next(Fault(kind="lost", on="run-now", count=4))
        acknowledged = 0

        for n, (name, job) in enumerate(pipelines.items()):
            assert start(service, name, job_id=job, watch_interval=1, attempts=2, parameters=QUICK) in {200, 201}

            if n % 4 == 3:
                time.sleep(chance.uniform(0, 0.5))
                service.kill()
                service.start()

        held = [name for name, job in pipelines.items() if job == HOLDS]
        wait_until("the jobs are triggered", lambda: len(runs_of(emulator, HOLDS)) == len(held), seconds=90)

        for n, run in enumerate(runs_of(emulator, HOLDS)):
            token = run.parameters["callback_url"].rpartition("/")[2]
            acknowledged += asked(service, "POST", "/callbacks", {"n": n}, token=token) == 200

            if n % 2:
                service.kill()
                service.start()

        outcomes = {name: ended(service, name) for name in pipelines}

    assert acknowledged == len(held)
    results = [outcomes[name]["result"]["result"]["n"] for name in held]  # type: ignore[index]
    assert sorted(results) == list(range(len(held)))
    assert {outcomes[name]["state"] for name, job in pipelines.items() if job == NOTEBOOK} == {"succeeded"}
    assert {outcomes[name]["error"]["outcome"] for name, job in pipelines.items() if job == DIES} == {"died"}  # type: ignore[index]

    # A dead job has two attempts, each with a token of its own; all others have one.
    tokens = [run.idempotency_token for run in emulator.workspace.runs()]
    assert len(tokens) == len(set(tokens)) == sum(2 if job == DIES else 1 for job in pipelines.values())
