"""Progress that the notebook reports: at a bounded rate, the newest wins, and nothing disturbs the work."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import notebook
import pytest
from support.reporting import SETTLED, TOKEN, Received, Receiver, Run

#: The token that the receiver names for progress.
OWN = "eyJhIjoicHJvZ3Jlc3MifQ.abc"
DESCRIBED = (200, {"countersign-progress": OWN}, "{}")
RECORDED: tuple[int, dict[str, str], str] = (200, {}, json.dumps({"callback": "run-1", "next_in": 10.0}))


class Impatient(threading.Condition):
    """Waits for no pause, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        if timeout is None:
            return super().wait_for(predicate, 30)

        self.pauses.append(timeout)
        return predicate()


def progress_of(receiver: Receiver) -> tuple[notebook.Progress, Impatient]:
    progress = notebook.Progress(notebook.Callback(receiver.url))
    progress._news = Impatient()

    return progress, progress._news


def ended(progress: notebook.Progress) -> None:
    assert progress._thread is not None
    progress._thread.join(30)
    assert not progress._thread.is_alive()


def sent(receiver: Receiver) -> list[object]:
    return [one.json for one in receiver.received if one.path.endswith("/progress")]


def wait_for(receiver: Receiver, count: int) -> None:
    for _ in range(3_000):
        if len(receiver.received) >= count:
            return

        threading.Event().wait(0.01)

    raise TimeoutError


def test_a_report_carries_its_own_token_and_never_the_callbacks(receiver: Receiver) -> None:
    receiver.answer(DESCRIBED, RECORDED)
    progress, news = progress_of(receiver)
    progress.report(0.4, "the second table")
    wait_for(receiver, 2)
    progress.close()
    ended(progress)

    asked, report = receiver.received
    assert asked.path == f"/base/callbacks/{TOKEN}"
    assert (report.path, report.headers["authorization"]) == ("/base/callbacks/progress", f"Bearer {OWN}")
    assert report.json == {"fraction": 0.4, "message": "the second table"}
    assert TOKEN not in str(report.headers)
    assert news.pauses[0] == 0.0


def test_between_two_reports_is_a_pause_and_the_newest_wins(receiver: Receiver) -> None:
    receiver.answer(DESCRIBED, RECORDED)
    progress = notebook.Progress(notebook.Callback(receiver.url))

    for number in range(1_000):
        progress.report(number / 1_000, f"row {number}")

    wait_for(receiver, 2)
    progress.report(1, "the last row")
    progress.close()
    ended(progress)

    assert len(sent(receiver)) == 1


def test_a_report_that_waits_for_its_turn_is_replaced_by_a_newer_one(receiver: Receiver) -> None:
    receiver.answer(DESCRIBED, RECORDED)
    progress, news = progress_of(receiver)

    with news:
        for number in range(100):
            progress.report(None, f"row {number}")

    wait_for(receiver, 2)
    progress.close()
    ended(progress)

    assert sent(receiver) == [{"fraction": None, "message": "row 99"}]
    assert news.pauses[1:] == [10.0] * len(news.pauses[1:])


@pytest.mark.parametrize(
    "answers",
    [
        [(200, {}, "{}")],
        [(404, {}, "{}")],
        [(302, {"Location": "/elsewhere"}, "")],
        [DESCRIBED, (401, {}, "{}")],
        [DESCRIBED, (410, {}, "{}")],
        [DESCRIBED, (302, {"Location": "/elsewhere"}, "")],
        [DESCRIBED, (200, {}, "<html>sign in</html>")],
        [DESCRIBED, (200, {}, "[]")],
    ],
)
def test_where_progress_is_not_wanted_no_more_is_sent(receiver: Receiver, answers: list[Any]) -> None:
    receiver.answer(*answers)
    progress, _ = progress_of(receiver)
    progress.report(0.1, "")
    ended(progress)
    progress.report(0.2, "")

    assert len(receiver.received) == len(answers)


def test_a_receiver_that_is_away_when_progress_begins_is_asked_for_the_token_again(receiver: Receiver) -> None:
    receiver.answer((503, {}, ""), (429, {}, ""), DESCRIBED, (410, {}, ""))
    progress, news = progress_of(receiver)
    progress.report(0.5, "half")
    ended(progress)

    assert news.pauses == [10.0, 10.0, 0.0]
    assert sent(receiver) == [{"fraction": 0.5, "message": "half"}]


def test_a_receiver_that_is_busy_is_asked_again_later(receiver: Receiver) -> None:
    receiver.answer(DESCRIBED, (503, {"Retry-After": "40"}, ""), (429, {}, ""), (410, {}, ""))
    progress, news = progress_of(receiver)

    for number in range(3):
        progress.report(number / 10, "")
        wait_for(receiver, number + 2)

    ended(progress)

    assert news.pauses == [0.0, 40.0, 10.0]


@pytest.mark.parametrize(
    ("fraction", "known"), [(0, 0), (1, 1), (0.5, 0.5), (1.5, None), (-1, None), (float("nan"), None), ("half", None)]
)
def test_what_is_no_fraction_is_unknown(receiver: Receiver, fraction: Any, known: float | None) -> None:
    receiver.answer(DESCRIBED, (410, {}, ""))
    progress, _ = progress_of(receiver)
    progress.report(fraction, "x" * 900 + "\udc80")
    ended(progress)

    assert sent(receiver) == [{"fraction": known, "message": "x" * 200}]


def test_without_a_callback_it_does_nothing() -> None:
    with notebook.reporting_progress(None):
        notebook.report_progress(0.5, "half")

    notebook.report_progress(0.5, "half")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["nobody listens", "nobody answers"])
def test_the_work_goes_on_whatever_becomes_of_its_progress(
    receiver: Receiver, run: Run, working: Callable[[str], Path], where: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        if where == "nobody listens":
            silent.close()

        # The report itself goes to a receiver that answers.
        code = (
            "import socket\n"
            f"PROGRESS[0]._callback = Callback('http://127.0.0.1:{port}/callbacks/x')\n"
            "for number in range(1000): report_progress(number / 1000, 'row')\n"
            "return 'done'"
        )
        ran = run(working(code))

    assert (ran.code, [one.json for one in receiver.received]) == (0, ["done"]), ran.output


@pytest.mark.slow
def test_the_work_reports_its_progress(receiver: Receiver, run: Run, working: Callable[[str], Path]) -> None:
    receiver.answer(DESCRIBED, RECORDED, (200, {}, SETTLED))
    code = "report_progress(0.25, 'a quarter')\nwhile PROGRESS[0]._newest: time.sleep(0.01)\ntime.sleep(0.5)\nreturn 7"

    assert run(working(code)).code == 0
    report: Received = receiver.received[-1]
    assert sent(receiver) == [{"fraction": 0.25, "message": "a quarter"}]
    assert (report.path, report.json) == (f"/base/callbacks/{TOKEN}", 7)


@pytest.mark.slow
def test_the_process_does_not_end_while_its_thread_opens_a_connection(
    run: Run, working: Callable[[str], Path], tmp_path: Path
) -> None:
    code = (
        "made = urllib.request.build_opener\n"
        "def slow(*arguments):\n"
        "    if threading.current_thread().name == 'progress':\n"
        "        time.sleep(0.5)\n"
        f"        open({str(tmp_path / 'opened')!r}, 'w').close()\n"
        "    return made(*arguments)\n"
        "urllib.request.build_opener = slow\n"
        "report_progress(0.5, 'half')\n"
        "return 7"
    )

    assert run(working(code)).code == 0
    assert (tmp_path / "opened").exists()
