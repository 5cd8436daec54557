"""The main job end to end, told step by step: a pipeline that survives what usually breaks one.

A receiver with an embedded engine is a process of its own, so is every notebook; the Databricks workspace is an
emulator of its Jobs API on loopback. Exit code 0 only when everything that is told has happened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from databricks_emulator import Emulator, Fault, Job

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).resolve().parent.parent
JOB_ID: Final = 7
WORKFLOW: Final = "/workflows/databricks_pipeline/nightly-report"
PATIENCE: Final = 40.0
KILLED: Final = -signal.SIGKILL


class DemoFailed(Exception):
    """Something that was told has not happened."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer: its status and its JSON document."""

    status: int
    document: dict[str, Any]

    @property
    def shown(self) -> str:
        """The answer in one line."""
        name = self.document.get("type", "").removeprefix("urn:countersign:")

        return f"{self.status} {name or json.dumps(self.document)}"


class Receiver:
    """`python -m receiver` as a process of its own, that can be killed and started again over the same file."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]

        self.url = f"http://127.0.0.1:{port}"
        self.api_key = secrets.token_urlsafe(32)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(ROOT),
            "COUNTERSIGN_ENGINE": f"sqlite:///{folder}/engine.db",
            "COUNTERSIGN_SIGNING_KEYS": secrets.token_urlsafe(32),
            "COUNTERSIGN_API_KEYS": f"demo:{hashlib.sha256(self.api_key.encode()).hexdigest()}",
            "COUNTERSIGN_PUBLIC_URL": self.url,
            "COUNTERSIGN_PORT": str(port),
            "DATABRICKS_HOST": emulator.url,
            "DATABRICKS_TOKEN": emulator.token,
        }

    def start(self) -> float:
        """Start the process; return the seconds until it was ready."""
        began = time.monotonic()

        with (self._folder / "receiver.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, by this very interpreter
                [sys.executable, "-m", "receiver"], cwd=self._folder, env=self._environment, stderr=log, stdout=log
            )

        wait_until("the receiver is ready", self._ready)

        return time.monotonic() - began

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        check(self._process.wait(PATIENCE) == KILLED, "the receiver was killed")

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self._process is not None
        self._process.terminate()

        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """Leave nothing running, whatever happened."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Return the receiver's answer; without a token the request carries the API key."""
        request = urllib.request.Request(  # noqa: S310 - a loopback address of our own
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.api_key}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        )

        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
                return Answer(status=answer.status, document=json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, document=json.loads(error.read()))

    def _ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            fail((self._folder / "receiver.log").read_text())

        try:
            return self.ask("GET", "/readyz").status == 200  # noqa: PLR2004
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> int:
    """Tell the story; return 0 when all of it happened."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="countersign-demo-"))

    try:
        with Emulator(jobs={JOB_ID: Job()}, startup=0.5) as emulator, Receiver(folder, emulator) as receiver:
            run_story(receiver, emulator)
    except DemoFailed as error:
        print(f"\nNOT AS TOLD: {error}\nThe receiver's log is {folder}/receiver.log", file=sys.stderr)
        return 1

    shutil.rmtree(folder)
    say(f"\nAll of it happened, in {time.monotonic() - began:.0f} s: one Databricks run, one answer, nothing lost.")

    return 0


def run_story(receiver: Receiver, emulator: Emulator) -> None:
    """Run the pipeline once, breaking things on the way."""
    workspace = emulator.workspace
    say(
        "A pipeline triggers a Databricks job, waits for the notebook to call back, and goes on with its result.\n"
        "Between the lines below, everything breaks that can."
    )

    step("The receiver starts: HTTP edge, workflows and their durable engine in one process.")
    told(f"ready after {receiver.start():.1f} s on {receiver.url}, promises in engine.db (SQLite)")

    step("A client starts the pipeline. Databricks will take the job, but its answer is held back for 5 seconds.")
    workspace.fail_next(Fault(kind="slow", on="run-now", seconds=5))
    parameters = {"rows": "1000", "seconds": "4"}
    started = receiver.ask("PUT", WORKFLOW, {"job_id": JOB_ID, "parameters": parameters, "watch_interval": 5})
    check(started.status == 201, f"the start answered {started.shown}")  # noqa: PLR2004
    told(f"PUT {WORKFLOW} -> {started.shown}")
    wait_until("Databricks has taken the job", lambda: workspace.runs_created() == 1)
    told(f"Databricks has started run {workspace.runs()[0].run_id}; the receiver does not know yet")

    step("kill -9, in the worst moment: the job runs, and nobody has recorded that it was triggered.")
    receiver.kill()
    told("the receiver is gone; the notebook goes on working, in a process of its own")

    step("The receiver starts again over the same file and takes up the pipeline by itself.")
    told(f"ready again after {receiver.start():.1f} s")
    wait_until("the trigger is recorded", lambda: triggered(receiver))
    check(workspace.runs_created() == 1, "Databricks still has exactly one run")
    told("it asked Databricks again, with the same idempotency_token, and got the run that was there")
    told(f"runs in the workspace: {workspace.runs_created()}")

    run = workspace.runs()[0]
    token = run.parameters["callback_url"].rpartition("/")[2]

    step("An attacker tries to answer for the job.")
    guess = receiver.ask("POST", "/callbacks", {"rows": 0}, token="databricks_pipeline.nightly-report:1")
    told(f"with the promise id he guessed:              {guess.shown}")
    forged = receiver.ask("POST", "/callbacks", {"rows": 0}, token=forge(token))
    told(f"with a token he signed himself:              {forged.shown}")
    other = receiver.ask("POST", "/callbacks", {"rows": 0}, token=receiver.api_key)
    told(f"with the API key of a client:                {other.shown}")
    check({guess.status, forged.status, other.status} == {401}, "every forgery is refused")
    check(state(receiver)["state"] == "running", "the pipeline still waits")

    step("kill -9 once more, now while the pipeline waits. The notebook finishes and calls a receiver that is not there.")
    receiver.kill()
    wait_until("the notebook has tried in vain", lambda: "not reported yet" in notebook_output(workspace))
    told(f"the notebook says: {last_line(notebook_output(workspace))}")

    step("The receiver is started again; the notebook's next try settles the wait, and the workflow goes on.")
    receiver.start()
    result = receiver.ask("GET", WORKFLOW, headers={"Prefer": "wait=30"})
    check(result.document.get("state") == "succeeded", f"the pipeline succeeded: {result.shown}")
    told(f"GET {WORKFLOW} -> {json.dumps(result.document['result'])}")
    answer = result.document["result"]["result"]
    run = workspace.wait_over(run.run_id)
    told(f"the notebook says: {last_line(run.output)}")

    step("What was recorded stands, whoever comes again.")
    again = receiver.ask("POST", "/callbacks", answer, token=token)
    told(f"the same answer again:                       {again.shown}")
    check(again.document.get("duplicate") is True, "a repeated answer is a duplicate")
    changed = receiver.ask("POST", "/callbacks", {"rows": 0}, token=token)
    told(f"the stolen token with another result:        {changed.shown}")
    check(changed.status == 422, "another answer under the same key is refused")  # noqa: PLR2004
    stranger = receiver.ask("POST", "/callbacks", {"rows": 0}, token=token, headers={"Idempotency-Key": "stranger"})
    told(f"and as a delivery of its own:                {stranger.shown}")
    check(stranger.status == 409, "another delivery is told that the wait is settled")  # noqa: PLR2004
    repeated = receiver.ask("PUT", WORKFLOW, {"job_id": JOB_ID, "parameters": parameters, "watch_interval": 5})
    told(f"the client starts the pipeline again:        200, created: {repeated.document.get('created')}, same result")
    check(repeated.document.get("result") == result.document["result"], "a repeated start gives the stored result")
    check(workspace.runs_created() == 1, "Databricks had one run in all")

    step("What happened, from the engine's own record:")
    for entry in receiver.ask("GET", f"{WORKFLOW}?steps=1").document["steps"]:
        told(f"{entry['name']:<12} {entry['state']:<10} {entry['started_at']} to {entry['ended_at']}")

    check(receiver.stop() == 0, "SIGTERM ends the receiver with exit code 0")


def forge(token: str) -> str:
    """Return the token with the signature of somebody who has not the key."""
    payload, _, signature = token.partition(".")

    return f"{payload}.{secrets.token_urlsafe(32)[: len(signature)]}"


def state(receiver: Receiver) -> dict[str, Any]:
    """Return the pipeline's state."""
    return receiver.ask("GET", WORKFLOW).document


def triggered(receiver: Receiver) -> bool:
    """Return whether the trigger is recorded in the engine."""
    steps = receiver.ask("GET", f"{WORKFLOW}?steps=1").document.get("steps", [])

    return any(one["name"] == "trigger_job" and one["state"] == "succeeded" for one in steps)


def notebook_output(workspace: Any) -> str:
    """Return what the notebook has printed so far."""
    return str(workspace.runs()[0].output)


def last_line(text: str) -> str:
    """Return the last line of what was printed."""
    return text.strip().rpartition("\n")[2]


def wait_until(what: str, happened: Callable[[], bool]) -> None:
    """Return once it has happened; look often, give up loudly."""
    end = time.monotonic() + PATIENCE

    while not happened():
        if time.monotonic() > end:
            fail(f"{what}, was expected within {PATIENCE:g} s")

        time.sleep(0.05)


def check(happened: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Go on only if it is so."""
    if not happened:
        fail(what)


def fail(what: str) -> NoReturn:
    """End the story."""
    raise DemoFailed(what)


def step(text: str) -> None:
    """Begin the next part."""
    say(f"\n* {text}")


def told(text: str) -> None:
    """Tell what happened."""
    say(f"    {text}")


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
