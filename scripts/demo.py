"""The main job end to end, step by step: a pipeline that survives what usually breaks one.

The receiver with its embedded engine is a process of its own, and so is every notebook. The Databricks workspace is an
emulator of the Jobs API on loopback. The exit code is 0 only if everything that the demo prints has really happened.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Fault, Job
from orchestrator.testing.processes import NotAsExpected, Service, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.testing.emulator.workspace import Run, Workspace

JOB_ID: Final = 7
OTHER_JOB_ID: Final = 8
WORKFLOW: Final = "/workflows/databricks_pipeline/nightly-report"
OTHER_WORKFLOW: Final = "/workflows/databricks_pipeline/old-report"

#: A notebook that knows nothing of us: it has no link, and its job declares no parameter for one.
UNCHANGED: Final = """\
dbutils.widgets.text("rows", "3")
dbutils.notebook.exit(str(sum(range(int(dbutils.widgets.get("rows"))))))
"""

#: The notebook works for PER_START seconds per second that a receiver needs to start, at least WORKING and at most
#: LONGEST seconds. So it is still working when the receiver is back and has triggered the job again, on a busy machine
#: too.
WORKING: Final = 4
PER_START: Final = 6
LONGEST: Final = 25

#: What each durable step of the pipeline is, by its name.
STEPS: Final[Mapping[str, str]] = {
    "run-1": "the wait for the notebook's callback, in the first attempt",
    "still_wanted": "a look, before the job is triggered, whether the pipeline was cancelled",
    "trigger_job": "triggering the job; the receiver was killed in the middle of this",
}

CREATED, UNAUTHORISED, CONFLICT, UNPROCESSABLE = 201, 401, 409, 422


def main() -> int:
    """Run the story; return 0 if all of it happened."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="countersign-demo-"))

    try:
        notebook = folder / "unchanged.py"
        notebook.write_text(UNCHANGED)
        jobs = {JOB_ID: Job(), OTHER_JOB_ID: Job(notebook=str(notebook), parameters={"rows": "3"})}

        with Emulator(jobs=jobs, startup=0.5) as emulator:
            databricks = {"DATABRICKS_HOST": emulator.url, "DATABRICKS_TOKEN": emulator.token}

            with Service(folder, f"sqlite:///{folder}/engine.db", environment=databricks) as service:
                run_story(service, emulator.workspace)

    except NotAsExpected as error:
        print(f"\nNOT AS EXPECTED: {error}\nThe receiver's log is {folder}/service.log", file=sys.stderr)

        return 1

    shutil.rmtree(folder)
    say(f"\nAll of this happened, in {time.monotonic() - began:.0f} s: one run for each job, nothing lost.")

    return 0


def run_story(service: Service, workspace: Workspace) -> None:
    """Run one pipeline, breaking things on the way."""
    say(
        "A pipeline triggers a Databricks job, waits until the job's notebook calls back, and returns its result.\n"
        "On the way the receiver is killed twice, and an attacker tries to answer in the job's name."
    )
    step("The receiver starts. The HTTP server, the workflows and their durable engine are one process.")
    seconds = service.start()
    show(f"ready after {seconds:.1f} s on {service.url}; what must not be lost is in engine.db (SQLite)")
    working = min(max(WORKING, round(PER_START * seconds)), LONGEST)
    given = {"job_id": JOB_ID, "parameters": {"rows": "1000", "seconds": str(working)}, "watch_interval": 5}

    run = trigger_and_crash(service, workspace, given)
    token = run.parameters["callback_url"].rpartition("/")[2]
    refuse_forgeries(service, token)
    result = crash_while_waiting(service, workspace)
    refuse_replays(service, token, result, given)
    check(workspace.runs_created() == 1, "Databricks had one run in total")

    step("What the engine has recorded of the pipeline, step by step:")

    for line in recorded(service.ask("GET", f"{WORKFLOW}?steps=1").document["steps"]):
        show(line)

    run_unchanged(service, workspace)
    check(service.stop() == 0, "SIGTERM ends the receiver with exit code 0")


def trigger_and_crash(service: Service, workspace: Workspace, given: dict[str, object]) -> Run:
    """Kill the receiver after the trigger and before it is recorded; return the only run of the workspace."""
    step("A client starts the pipeline. Databricks accepts the job, but its response is held back for 5 seconds.")
    workspace.fail_next(Fault(kind="slow", on="run-now", seconds=5))
    started = service.ask("PUT", WORKFLOW, given)
    check(started.status == CREATED, f"the start returned {started.shown}")
    show(f"PUT {WORKFLOW}")
    show(f"-> {started.shown}")
    wait_until("Databricks has taken the job", lambda: workspace.runs_created() == 1)
    show(f"Databricks has started run {workspace.runs()[0].run_id}, and the receiver does not know it yet")

    step("kill -9 at the worst moment: the job is running, and nothing has recorded that it was triggered.")
    service.kill()
    show("the receiver is gone; the notebook keeps working, in a process of its own")

    step("The receiver starts again with the same file, and continues the pipeline by itself.")
    show(f"ready again after {service.start():.1f} s")
    wait_until("the trigger is recorded", lambda: is_triggered(service))
    show("it triggered the job again with the same idempotency_token, and got the run that was already there")
    show(f"runs in the workspace: {workspace.runs_created()}")
    check(workspace.runs_created() == 1, "Databricks has exactly one run")

    return workspace.runs()[0]


def refuse_forgeries(service: Service, token: str) -> None:
    """Try to report a result in the job's name without its token."""
    step("An attacker tries to answer in the job's name.")
    payload, _, signature = token.partition(".")
    forgeries = {
        "with a guessed promise id": "databricks_pipeline.nightly-report:1",
        "with a token that has a made-up signature": f"{payload}.{secrets.token_urlsafe(32)[: len(signature)]}",
        "with a client's API key": service.api_key,
    }

    for how, forged in forgeries.items():
        refused = service.ask("POST", "/callbacks", {"rows": 0}, token=forged)
        show(f"{how:<41} -> {refused.shown}")
        check(refused.status == UNAUTHORISED, "a forgery is refused")

    check(service.ask("GET", WORKFLOW).document["state"] == "running", "the pipeline still waits")


def crash_while_waiting(service: Service, workspace: Workspace) -> object:
    """Kill the receiver before the notebook calls back; return the result that the pipeline ends with."""
    step("kill -9 again, while the pipeline waits. The notebook finishes and calls back, but nothing is listening.")
    service.kill()
    wait_until("the notebook has tried to report", lambda: "not reported yet" in workspace.runs()[0].output)
    show(f"the notebook prints: {last_line(workspace.runs()[0].output)}")

    step("The receiver starts again. The notebook's next try settles the wait, and the workflow continues.")
    service.start()
    ended = service.ask("GET", WORKFLOW, headers={"Prefer": "wait=30"}).document
    check(ended.get("state") == "succeeded", f"the pipeline succeeded: {ended}")
    show(f"the notebook prints: {last_line(workspace.wait_over(workspace.runs()[0].run_id).output)}")
    show(f"GET {WORKFLOW}")
    show(f"-> {json.dumps(ended['result'])}")

    return ended["result"]["result"]


def refuse_replays(service: Service, token: str, result: object, given: dict[str, object]) -> None:
    """Use the spent token again, in every way."""
    step("What was recorded stays, whatever is sent afterwards.")
    again = service.ask("POST", "/callbacks", result, token=token)
    show(f"{'the same result again':<41} -> 200, duplicate: {again.document.get('duplicate')}")
    check(again.document.get("duplicate") is True, "a repeated result is a duplicate")

    changed = service.ask("POST", "/callbacks", {"rows": 0}, token=token)
    show(f"{'another result, with the stolen token':<41} -> {changed.shown}")
    check(changed.status == UNPROCESSABLE, "another result under the same key is refused")

    stranger = service.ask("POST", "/callbacks", {"rows": 0}, token=token, headers={"Idempotency-Key": "mine"})
    show(f"{'the same, under an idempotency key':<41} -> {stranger.shown}")
    check(stranger.status == CONFLICT, "another delivery is refused because the wait is settled")

    repeated = service.ask("PUT", WORKFLOW, given)
    show(
        f"{'the client starts the pipeline again':<41} -> 200, created: {repeated.document['created']}, the same result"
    )
    check(repeated.document["result"]["result"] == result, "a repeated start returns the stored result")


def run_unchanged(service: Service, workspace: Workspace) -> None:
    """Run a job whose notebook was never changed, and which cannot reach anything of ours."""
    step("Another job: its notebook was never changed, and gets no link. The Jobs API is asked, from our side.")
    given = {"job_id": OTHER_JOB_ID, "parameters": {"rows": "1000"}, "answer": "run", "watch_interval": 1}
    ended = service.ask("PUT", OTHER_WORKFLOW, given, headers={"Prefer": "wait=30"}).document
    show(f"PUT {OTHER_WORKFLOW}")
    show(f"-> {json.dumps(ended.get('result'))}")
    check((ended.get("result") or {}).get("result") == sum(range(1000)), f"its exit value is the result: {ended}")
    run = workspace.runs()[-1]
    check(run.parameters == {"rows": "1000"}, "no parameter was added")
    check(workspace.runs_created() == len({JOB_ID, OTHER_JOB_ID}), "each job had one run")


def recorded(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each durable step: its name, its state, how long it took, and what it is."""
    for one in steps:
        check(one["name"] in STEPS, f"the step {one['name']} is explained")
        began, ended = (datetime.fromisoformat(one[moment]) for moment in ("started_at", "ended_at"))
        seconds = (ended - began).total_seconds()
        yield f"{one['name']:<12}  {one['state']}  {seconds:>5.1f} s  {STEPS[one['name']]}"


def is_triggered(service: Service) -> bool:
    """Return whether the trigger is recorded in the engine."""
    steps = service.ask("GET", f"{WORKFLOW}?steps=1").document.get("steps", [])

    return any(one["name"] == "trigger_job" and one["state"] == "succeeded" for one in steps)


def last_line(text: str) -> str:
    """Return the last line of what was printed."""
    return text.strip().rpartition("\n")[2]


def check(happened: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Continue only if it happened."""
    if not happened:
        raise NotAsExpected(what)


def step(text: str) -> None:
    """Print the heading of the next part."""
    say(f"\n* {text}")


def show(text: str) -> None:
    """Print what happened."""
    say(f"    {text}")


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
