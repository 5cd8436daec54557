"""The emulator's workspace: jobs, runs and faults, without HTTP.

Long because jobs, runs and faults are one state under one lock.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from orchestrator.databricks import NOTEBOOK

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from pathlib import Path

#: What becomes of a job's runs. "notebook" runs the notebook as a process. "hold" and "blocked" stay RUNNING or BLOCKED
#: until they are moved. The others are over at once, without a callback: TERMINATED/SUCCESS, TERMINATED/FAILED,
#: INTERNAL_ERROR and SKIPPED.
Fate = Literal["notebook", "hold", "blocked", "succeeds", "fails", "dies", "skipped"]

OVER: Final = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})

_SCRIPTED: Final[Mapping[str, tuple[str, str | None, str]]] = {
    "hold": ("RUNNING", None, "In run"),
    "blocked": ("BLOCKED", None, "Waiting for an upstream task"),
    "succeeds": ("TERMINATED", "SUCCESS", ""),
    "fails": ("TERMINATED", "FAILED", "Workload failed, see run output for details"),
    "dies": ("INTERNAL_ERROR", "FAILED", "The cluster was lost"),
    "skipped": ("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", "A previous run of the job was active"),
}

#: The states that the newer `status` names differently.
_STATUS: Final = {"WAITING_FOR_RETRY": "WAITING", "SKIPPED": "TERMINATED", "INTERNAL_ERROR": "TERMINATED"}

#: Why a run ended, in the words of the newer `status`.
_TERMINATION: Final = {
    "FAILED": "RUN_EXECUTION_ERROR",
    "CANCELED": "USER_CANCELED",
    "MAXIMUM_CONCURRENT_RUNS_REACHED": "MAX_CONCURRENT_RUNS_EXCEEDED",
}

#: How many seconds a cancelled notebook has before it is killed.
CANCEL_GRACE: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the workspace. `parameters` are the declared ones with their defaults; None accepts any parameter.

    `environment` is added to the environment of the notebook's process, in place of the cluster's configuration and
    secrets. With `max_concurrent_runs`, a run above that number is SKIPPED, as in a job without queueing.
    """

    fate: Fate = "notebook"
    parameters: Mapping[str, str] | None = None
    notebook: str = str(NOTEBOOK)
    environment: Mapping[str, str] = field(default_factory=dict)
    permitted: bool = True
    max_concurrent_runs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with the next `count` requests to `on` (run-now, runs/get, runs/cancel, runs/delete or *).

    lost: the request takes effect, then the connection is closed without a response. refused: the connection is closed
    without any effect. status: no effect; the response has `status`, `error_code`, `message` and Retry-After if
    `retry_after` is given, or only the text `body`. garbage: the request takes effect; the response is 200 with the
    text `message`. slow: the request takes effect and is answered normally, `seconds` late.
    """

    kind: Literal["lost", "refused", "status", "garbage", "slow"]
    on: str = "run-now"
    count: int = 1
    status: int = 503
    error_code: str = "TEMPORARILY_UNAVAILABLE"
    message: str = "The service is temporarily unavailable"
    body: str | None = None
    retry_after: int | None = None
    seconds: float = 0.0


@dataclass(kw_only=True)
class Run:
    """A run of a job. `pid`, `exit_code` and `output` (so far) are those of its notebook, if it has one."""

    run_id: int
    job_id: int
    idempotency_token: str | None
    parameters: dict[str, str]
    defaults: dict[str, str]
    life_cycle_state: str = "PENDING"
    result_state: str | None = None
    message: str = ""
    deleted: bool = False
    cancel_asked: bool = False
    start_time: int = 0
    end_time: int = 0
    pid: int | None = None
    exit_code: int | None = None
    output: str = ""


class ApiError(Exception):
    """A refusal in the form of the real API."""

    def __init__(self, status: int, error_code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": error_code, "message": message}
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def invalid(message: str) -> ApiError:
    """Return the refusal that the Jobs API gives for most mistakes."""
    return ApiError(400, "INVALID_PARAMETER_VALUE", message)


class Workspace:
    """The jobs, their runs and the requests so far: everything but HTTP. Every method may be called from any thread."""

    def __init__(
        self,
        jobs: Mapping[int, Job],
        *,
        startup: float = 0.0,
        state: Path | None = None,
        url: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self._jobs = dict(jobs)
        self._startup = startup
        self._clock = clock
        self._state = state
        self._runs: dict[int, Run] = {}
        self._faults: list[tuple[Fault, int]] = []
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._stopping = threading.Event()
        self._load()

    # For tests and the demo

    def add_job(self, job_id: int, job: Job) -> None:
        """Add a job, or change one for its later runs."""
        with self._lock:
            self._jobs[job_id] = job

    def has_job(self, job_id: int) -> bool:
        """Return whether the workspace has this job."""
        return job_id in self._jobs

    def fail_next(self, fault: Fault) -> None:
        """Make the next matching requests go wrong. Several faults happen one after another."""
        with self._lock:
            self._faults.append((fault, fault.count))

    def heal(self) -> None:
        """Remove every fault that has not happened yet."""
        with self._lock:
            self._faults.clear()

    def runs(self) -> list[Run]:
        """Return all runs in order of creation, deleted ones included."""
        with self._lock:
            return list(self._runs.values())

    def runs_created(self, token: str | None = None) -> int:
        """Return how many runs were created in total or with this idempotency token, deleted ones included."""
        return sum(token is None or run.idempotency_token == token for run in self.runs())

    def cancels(self, run_id: int) -> int:
        """Return how many requests asked to cancel this run."""
        return sum(each["path"] == "runs/cancel" and each.get("run_id") == run_id for each in list(self.requests))

    def move(self, run_id: int, life_cycle_state: str, result_state: str | None = None, message: str = "") -> None:
        """Put a run into any state, even one that Databricks does not have."""
        with self._lock:
            run = self._runs[run_id]
            run.life_cycle_state, run.result_state, run.message = life_cycle_state, result_state, message
            run.end_time = self._now() if life_cycle_state in OVER else 0
            self._changed.notify_all()
            self._save()

    def wait_over(self, run_id: int, timeout: float = 30.0) -> Run:
        """Return the run once it is over; raise TimeoutError after `timeout` seconds."""
        return self.wait_until(run_id, OVER, timeout)

    def wait_until(self, run_id: int, states: Container[str], timeout: float = 30.0) -> Run:
        """Return the run once it is in one of these states; raise TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._runs[run_id].life_cycle_state in states, timeout):
                raise TimeoutError(f"run {run_id} is {self._runs[run_id].life_cycle_state}")

            return self._runs[run_id]

    def stop(self) -> None:
        """Kill every notebook that still runs, and start no more."""
        self._stopping.set()

        with self._lock:
            processes = list(self._processes.values())

        for process in processes:
            process.kill()

        for process in processes:
            process.wait()

    def describe(self) -> dict[str, Any]:
        """Return the whole state as a JSON object."""
        with self._lock:
            tokens = [run.idempotency_token for run in self._runs.values()]
            asked = [each.get("idempotency_token") for each in self.requests if each["path"] == "run-now"]
            cancelled = [each.get("run_id") for each in self.requests if each["path"] == "runs/cancel"]
            return {
                "runs": [asdict(run) for run in self._runs.values()],
                "requests": list(self.requests),
                "runs_created": Counter(map(str, tokens)),
                "runs_asked_for": Counter(map(str, asked)),
                "cancels": Counter(map(str, cancelled)),
            }

    # For the Jobs API

    def fault(self, path: str) -> Fault | None:
        """Return the fault for this request, if there is one, and count it as used."""
        with self._lock:
            for index, (fault, left) in enumerate(self._faults):
                if fault.on in {path, "*"}:
                    self._faults[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                    return fault

            return None

    def run_now(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer run-now: the run of this token, or a new one."""
        _only(body, "job_id", "idempotency_token", "job_parameters")
        job_id, parameters = _id(body, "job_id"), body.get("job_parameters", {})
        token = body.get("idempotency_token")

        if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
            raise ApiError(400, "MALFORMED_REQUEST", "Could not parse request object: job_parameters: expected strings")

        if token is not None and (not isinstance(token, str) or len(token) > 64):  # noqa: PLR2004 - the real limit
            raise invalid("idempotency_token must have at most 64 characters.")

        with self._lock:
            job = self._jobs.get(job_id)

            if job is None:
                raise invalid(f"Job {job_id} does not exist.")

            if not job.permitted:
                message = f"User emulator@example.com does not have Manage Run or Owner permissions on job {job_id}"
                raise ApiError(403, "PERMISSION_DENIED", message)

            # As documented: the run of this token is returned whatever its state is, and a deleted run is an error. An
            # empty token counts as no token.
            for run in self._runs.values():
                if token and run.idempotency_token == token:
                    if run.deleted:
                        raise invalid("The run with this idempotency_token has been deleted.")

                    return {"run_id": run.run_id, "number_in_job": run.run_id}

            defaults = dict(parameters if job.parameters is None else job.parameters)

            if unknown := sorted(set(parameters) - set(defaults)):
                raise invalid(f"Job parameters {unknown} are not defined in the settings of job {job_id}.")

            run = Run(
                run_id=secrets.randbelow(2**48) + 1,
                job_id=job_id,
                idempotency_token=token,
                parameters=defaults | parameters,
                defaults={} if job.parameters is None else defaults,
                start_time=self._now(),
            )
            self._begin(run, job)
            self._save()
            return {"run_id": run.run_id, "number_in_job": run.run_id}

    def _begin(self, run: Run, job: Job) -> None:
        active = sum(one.job_id == run.job_id and one.life_cycle_state not in OVER for one in self._runs.values())
        self._runs[run.run_id] = run

        if job.max_concurrent_runs is not None and active >= job.max_concurrent_runs:
            self.move(run.run_id, *_SCRIPTED["skipped"])
        elif job.fate == "notebook":
            threading.Thread(target=self._execute, args=(run, job), daemon=True).start()
        else:
            self.move(run.run_id, *_SCRIPTED[job.fate])

    def get(self, run_id: int) -> dict[str, Any]:
        """Answer runs/get with the old `state` and the newer `status`: the API returns both."""
        with self._lock:
            run = self._run(run_id)
            details = {
                "code": _TERMINATION.get(run.result_state or "", run.result_state)
                if run.life_cycle_state in {"TERMINATED", "SKIPPED"}
                else run.life_cycle_state,
                "type": "SUCCESS" if run.result_state == "SUCCESS" else "CLIENT_ERROR",
                "message": run.message,
            }
            over = run.life_cycle_state in OVER
            return {
                "job_id": run.job_id,
                "run_id": run.run_id,
                "number_in_job": run.run_id,
                "creator_user_name": "emulator@example.com",
                "run_name": f"job {run.job_id}",
                "run_page_url": f"{self.url}/?o=1#job/{run.job_id}/run/{run.run_id}",
                "run_type": "JOB_RUN",
                "trigger": "ONE_TIME",
                "format": "MULTI_TASK",
                "start_time": run.start_time,
                "end_time": run.end_time,
                "state": {
                    "life_cycle_state": run.life_cycle_state,
                    "state_message": run.message,
                    "user_cancelled_or_timedout": run.result_state == "CANCELED",
                    **({"result_state": run.result_state} if run.result_state else {}),
                },
                "status": {
                    "state": _STATUS.get(run.life_cycle_state, run.life_cycle_state),
                    **({"termination_details": details} if over else {}),
                },
                "job_parameters": [
                    {"name": name, "default": run.defaults.get(name, ""), "value": value}
                    for name, value in run.parameters.items()
                ],
            }

    def cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        """Cancel a run. A run that is over does not change; that is not an error."""
        _only(body, "run_id")

        with self._lock:
            run = self._run(_id(body, "run_id"))
            process = self._processes.get(run.run_id)
            run.cancel_asked = True

            if run.life_cycle_state in OVER:
                return {}

            if process is None:
                self.move(run.run_id, "TERMINATED", "CANCELED", "Run cancelled.")
            else:
                run.life_cycle_state = "TERMINATING"
                process.terminate()
                killer = threading.Timer(CANCEL_GRACE, process.kill)
                killer.daemon = True
                killer.start()

            return {}

    def delete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer runs/delete, for a run that is over."""
        _only(body, "run_id")

        with self._lock:
            run = self._run(_id(body, "run_id"))

            if run.life_cycle_state not in OVER:
                raise ApiError(400, "INVALID_STATE", f"Run {run.run_id} is active and cannot be deleted.")

            run.deleted = True
            self._save()
            return {}

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _run(self, run_id: int) -> Run:
        run = self._runs.get(run_id)

        if run is None or run.deleted:
            raise invalid(f"Run {run_id} does not exist.")

        return run

    def _execute(self, run: Run, job: Job) -> None:
        self._stopping.wait(self._startup)

        with self._lock:
            if self._stopping.is_set() or run.life_cycle_state != "PENDING":
                return

            # In the environment, because everybody can read the arguments in the process list.
            given = {f"COUNTERSIGN_PARAM_{name.upper()}": value for name, value in run.parameters.items()}
            inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
            process = subprocess.Popen(  # noqa: S603 - the notebook that this emulator is given
                [sys.executable, job.notebook],
                env={**inherited, **job.environment, **given},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self._processes[run.run_id] = process
            run.pid = process.pid
            self.move(run.run_id, "RUNNING", message="In run")

        with process:
            for line in process.stdout or ():
                run.output = (run.output + line)[-10_000:]

        with self._lock:
            del self._processes[run.run_id]
            run.exit_code = process.returncode
            self.move(run.run_id, "TERMINATED", *self._outcome(run))

    @staticmethod
    def _outcome(run: Run) -> tuple[str, str]:
        if run.cancel_asked:
            return "CANCELED", "Run cancelled."

        return ("SUCCESS", "") if run.exit_code == 0 else ("FAILED", "Workload failed, see run output for details")

    def _load(self) -> None:
        if self._state is None or not self._state.exists():
            return

        for each in json.loads(self._state.read_text()):
            run = Run(**each)
            self._runs[run.run_id] = run
            job = self._jobs.get(run.job_id)

            if run.life_cycle_state not in OVER and (job is None or job.fate == "notebook"):
                self.move(run.run_id, "INTERNAL_ERROR", "FAILED", "The emulator was restarted")

    def _save(self) -> None:
        if self._state is not None:
            fresh = self._state.with_suffix(".new")
            fresh.write_text(json.dumps([asdict(run) for run in self._runs.values()]))
            fresh.replace(self._state)


def _only(body: Mapping[str, object], *known: str) -> None:
    if unknown := sorted(set(body) - set(known)):
        raise ApiError(400, "MALFORMED_REQUEST", f"This emulator does not know the fields {unknown}")


def _id(body: Mapping[str, object], name: str) -> int:
    value = str(body.get(name, ""))

    if not (value.isascii() and value.isdigit()):
        raise ApiError(400, "MALFORMED_REQUEST", f"Could not parse request object: {name}: expected a number")

    return int(value)
