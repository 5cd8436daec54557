"""How runs go on: tasks in order, iterations, retries of tasks and of runs, the queue, a cancel, notifications."""

from __future__ import annotations

from typing import Any

import pytest
from support.clocks import Clock

from orchestrator.testing.emulator.workspace import Job, Run, Task, Webhook, Workspace

HOOK = Webhook(url="https://hooks.example/databricks", user="databricks", password="hidden")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sent() -> list[tuple[Webhook, dict[str, Any]]]:
    return []


@pytest.fixture
def workspace(clock: Clock, sent: list[tuple[Webhook, dict[str, Any]]]) -> Workspace:
    return Workspace({}, clock=clock, send=lambda webhook, body: sent.append((webhook, body)))


def start(workspace: Workspace, job: Job | None = None, **tasks: Task) -> Run:
    """Start a run of a job that has these tasks, or of this job."""
    workspace.add_job(1, job or Job(tasks=tasks))
    run_id = workspace.run_now({"job_id": 1})["run_id"]

    return next(run for run in workspace.runs() if run.run_id == run_id)


def states(run: Run) -> dict[str, str]:
    return {key: one.result_state or one.life_cycle_state for key, one in run.latest().items()}


def end(workspace: Workspace, run: Run, key: str, result: str = "SUCCESS") -> None:
    workspace.move(run.latest()[key].run_id, "TERMINATED", result)


def test_a_task_begins_when_those_before_it_are_over(workspace: Workspace) -> None:
    run = start(workspace, first=Task(fate="hold"), second=Task(fate="hold", depends_on=("first",)))
    assert states(run) == {"first": "RUNNING", "second": "BLOCKED"}
    assert workspace.task_run(run.run_id, "second").start_time == 0

    end(workspace, run, "first")
    assert (states(run)["second"], run.life_cycle_state) == ("RUNNING", "RUNNING")

    end(workspace, run, "second")
    assert (run.life_cycle_state, run.result_state) == ("TERMINATED", "SUCCESS")


def test_a_failure_skips_what_needs_it_and_runs_what_waits_for_it(workspace: Workspace) -> None:
    run = start(
        workspace,
        load=Task(fate="fails"),
        check=Task(fate="hold", depends_on=("load",)),
        alarm=Task(fate="succeeds", depends_on=("load",), run_if="AT_LEAST_ONE_FAILED"),
        idle=Task(fate="succeeds", depends_on=("load",), run_if="AT_LEAST_ONE_SUCCESS"),
    )

    assert states(run) == {"load": "FAILED", "check": "UPSTREAM_FAILED", "alarm": "SUCCESS", "idle": "EXCLUDED"}
    assert (run.life_cycle_state, run.result_state) == ("INTERNAL_ERROR", "FAILED")


def test_a_task_that_is_tried_again_has_a_run_for_each_attempt(workspace: Workspace, clock: Clock) -> None:
    task = Task(fate="fails", then=("dies", "succeeds"), max_retries=2, min_retry_interval_millis=60_000)
    run = start(workspace, load=task)

    for attempt in range(2):
        assert workspace.get(run.run_id)["status"]["state"] == "WAITING"
        assert (states(run), run.tasks[attempt].over) == ({"load": "WAITING_FOR_RETRY"}, True)
        clock.now += 60

    assert workspace.get(run.run_id)["state"]["result_state"] == "SUCCESS"
    assert [one.attempt_number for one in run.tasks] == [0, 1, 2]
    first, last = run.tasks[0].run_id, run.tasks[2].run_id
    assert workspace.get(last)["original_attempt_run_id"] == first


def test_a_task_without_further_retries_stays_failed(workspace: Workspace) -> None:
    run = start(workspace, load=Task(fate="fails", max_retries=1))

    assert ([one.result_state for one in run.tasks], run.result_state) == (["FAILED", "FAILED"], "FAILED")


def test_a_run_that_is_tried_again_is_another_run(workspace: Workspace) -> None:
    first = start(workspace, Job(tasks={"load": Task(fate="fails")}, max_retries=1))
    second = workspace.runs()[1]
    shown = workspace.get(second.run_id)

    assert (first.result_state, second.result_state) == ("FAILED", "FAILED")
    assert (shown["attempt_number"], shown["original_attempt_run_id"], shown["trigger"]) == (1, first.run_id, "RETRY")
    assert len(workspace.runs()) == 2


def test_a_task_for_each_input_has_a_run_for_each(workspace: Workspace) -> None:
    run = start(
        workspace, each=Task(fate="hold", for_each=("a", "b")), last=Task(fate="succeeds", depends_on=("each",))
    )
    one, other = run.latest()["each"].iterations
    workspace.move(one.run_id, "TERMINATED", "SUCCESS", output="1")
    workspace.move(other.run_id, "TERMINATED", "FAILED")

    shown = next(task for task in workspace.get(run.run_id)["tasks"] if task["task_key"] == "each")
    stats = shown["for_each_task"]["stats"]["task_run_stats"]
    assert (stats["succeeded_iterations"], stats["failed_iterations"], stats["active_iterations"]) == (1, 1, 0)
    assert [each["run_id"] for each in workspace.get(shown["run_id"])["iterations"]] == [one.run_id, other.run_id]
    assert workspace.get_output(one.run_id)["notebook_output"]["result"] == "1"
    assert states(run) == {"each": "FAILED", "last": "UPSTREAM_FAILED"}


def test_a_task_for_no_input_succeeds_at_once(workspace: Workspace) -> None:
    assert start(workspace, each=Task(fate="hold", for_each=())).result_state == "SUCCESS"


def test_a_cancel_ends_what_runs_and_skips_what_has_not_begun(workspace: Workspace) -> None:
    run = start(
        workspace,
        each=Task(fate="hold", for_each=("a",)),
        retried=Task(fate="fails", max_retries=-1, min_retry_interval_millis=1),
        last=Task(depends_on=("each",)),
    )
    workspace.cancel({"run_id": run.run_id})

    assert states(run) == {"each": "CANCELED", "retried": "CANCELED", "last": "UPSTREAM_CANCELED"}
    assert (run.life_cycle_state, run.result_state) == ("TERMINATED", "CANCELED")


def test_a_queued_run_begins_when_there_is_room(workspace: Workspace) -> None:
    job = Job(fate="hold", max_concurrent_runs=1, queue=True)
    first, second, third = (start(workspace, job) for _ in range(3))
    assert [run.life_cycle_state for run in (first, second, third)] == ["RUNNING", "QUEUED", "QUEUED"]

    workspace.cancel({"run_id": second.run_id})
    workspace.move(first.run_id, "TERMINATED", "SUCCESS")

    assert [run.life_cycle_state for run in (first, second, third)] == ["TERMINATED", "TERMINATED", "RUNNING"]


def test_a_run_above_the_limit_of_a_job_without_a_queue_is_skipped(workspace: Workspace) -> None:
    _, second = (start(workspace, Job(fate="hold", max_concurrent_runs=1)) for _ in range(2))

    assert (second.life_cycle_state, second.result_state) == ("SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED")
    assert states(second) == {"main": "MAXIMUM_CONCURRENT_RUNS_REACHED"}


@pytest.mark.parametrize(
    ("result", "event"),
    [
        ("SUCCESS", "jobs.on_success"),
        ("SUCCESS_WITH_FAILURES", "jobs.on_success"),
        ("FAILED", "jobs.on_failure"),
        ("CANCELED", "jobs.on_failure"),
        ("TIMEDOUT", "jobs.on_failure"),
    ],
)
def test_the_start_and_the_end_of_a_run_are_notified(
    workspace: Workspace, sent: list[tuple[Webhook, dict[str, Any]]], result: str, event: str
) -> None:
    run = start(workspace, Job(fate="hold", name="nightly", webhook=HOOK))
    workspace.move(run.run_id, "TERMINATED", result)

    assert [(webhook, body["event_type"]) for webhook, body in sent] == [(HOOK, "jobs.on_start"), (HOOK, event)]
    assert sent[1][1] == {
        "event_type": event,
        "workspace_id": "1",
        "run": {"run_id": str(run.run_id)},
        "job": {"job_id": "1", "name": "nightly"},
    }


def test_a_job_without_a_webhook_only_records_its_notifications(
    workspace: Workspace, sent: list[tuple[Webhook, dict[str, Any]]]
) -> None:
    start(workspace, Job(fate="succeeds"))

    assert sent == []
    assert [body["event_type"] for body in workspace.notifications] == ["jobs.on_start", "jobs.on_success"]


def test_a_task_must_come_after_those_that_it_depends_on() -> None:
    with pytest.raises(ValueError, match=r"check depends on \['load'\]"):
        Job(tasks={"check": Task(depends_on=("load",)), "load": Task()})
