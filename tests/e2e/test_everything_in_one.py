"""One workflow with everything in it, over real HTTP, in processes that are killed after each thing that it does."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import catalogue
from support.catalogue import OUTSIDE, Outside
from support.engines import resonate_server
from support.senders import as_standard, whsec

from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Job
from orchestrator.testing.processes import PATIENCE, NotAsExpected, Service, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDS = 1
EDITORS = ["ada@example.org", "grace@example.org"]
SOURCE = """
[sources.courier]
scheme = "standard"
secrets = ["env:COURIER_SECRET"]
token = "order.callback_token"
event = "type"
events = ["parcel.delivered"]
"""


class Press:
    """The service, the outside world, and everybody who takes part."""

    def __init__(self, service: Service, emulator: Emulator, outside: Outside, secret: str) -> None:
        self.service = service
        self.jobs = emulator.workspace
        self.outside = outside
        self._secret = secret

    def ask(self, method: str, path: str, body: object = None, **options: Any) -> dict[str, Any]:
        """Return the document of the first response that is no 503, as a correct client waits for it."""
        end = time.monotonic() + PATIENCE

        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                response = self.service.ask(method, path, body, **options)

                if response.status != 503:
                    return response.document

            time.sleep(0.05)

        raise NotAsExpected(f"{method} {path} got no response")

    def print(self, issue: str) -> None:
        body = {"issue": issue, "copies": 100, "job_id": HOLDS, "editors": EDITORS}
        assert self.ask("PUT", f"/workflows/catalogue/{issue}", body)["id"] == issue

    def paid(self, issue: str) -> None:
        wait_until("the deposit is paid", lambda: f"catalogue.{issue}" in self.outside.effects("charge"))

    def reserved(self, issue: str) -> None:
        wait_until("paper is reserved", lambda: issue in self.outside.effects("reserve"))

    def asked(self, issue: str) -> dict[str, str]:
        """Return everybody's link, once all are mailed."""
        wait_until("the editors are asked", lambda: self._links(issue).keys() == set(EDITORS))
        return self._links(issue)

    def _links(self, issue: str) -> dict[str, str]:
        text = self.service.log.read_text()
        mails = re.findall(
            r"^To: (\S+)\nSubject: Print (\S+)\?.*?(http://\S+/approvals/\S+)", text, re.DOTALL | re.MULTILINE
        )
        return {person: link for person, about, link in mails if about == issue}

    def approve(self, link: str) -> None:
        """Press the button, until the page says that the decision is recorded."""
        data = urllib.parse.urlencode({"decision": "approve", "comment": "Nice."}).encode()

        def pressed() -> bool:
            with contextlib.suppress(OSError), urllib.request.urlopen(link, data, timeout=PATIENCE) as page:  # noqa: S310 - loopback
                return "Nice." in page.read().decode()

            return False

        wait_until("the decision is recorded", pressed)

    def run_of(self, issue: str, task: str | None = None) -> Any:
        """Return the run of the issue's sub-workflow, or of a job of its own, once Databricks has it."""

        def found() -> list[Any]:
            runs = [run for run in self.jobs.runs() if run.parameters["issue"] == issue]
            return [run for run in runs if run.parameters.get("task") == task]

        wait_until("the job runs", lambda: bool(found()))
        (run,) = found()
        return run

    def price(self, issue: str) -> None:
        self._report(self.run_of(issue), {"tea": 300})

    def archive(self, issue: str) -> None:
        self._report(self.run_of(issue, "archive"), "shelf 3")

    def _report(self, run: Any, result: object) -> None:
        token = run.parameters["callback_url"].rpartition("/")[2]
        assert self.ask("POST", "/callbacks", result, token=token)["state"] == "settled"

    def deliver(self, issue: str) -> None:
        """Have the courier deliver, who was given a token and signs."""
        key = f"catalogue.{issue}"
        wait_until("the print is ordered", lambda: key in self.outside.effects("order"))
        token = self.outside.effects("order")[key]
        body = {
            "type": "parcel.delivered",
            "order": {"callback_token": token},
            "parcel": {"signed_for_by": "alan"},
        }
        headers = as_standard(self._secret, json.dumps(body), int(time.time()), f"msg_{issue}")
        assert self.ask("POST", "/webhooks/courier", body, headers=headers)["state"] == "settled"

    def ended(self, path: str) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE

        while time.monotonic() < end:
            document = self.ask("GET", path, headers={"Prefer": "wait=5"})

            if document["state"] != "running":
                return document

        raise NotAsExpected(f"{path} did not end: {json.dumps(self.ask('GET', f'{path}?steps=1'), indent=1)}")

    def crash(self, *names: str) -> None:
        """Kill these processes, those of them that there are, and start them again."""
        for name in names:
            if name in self.service.names:
                self.service.kill(name)
                self.service.launch(name)

    def child_of(self, issue: str) -> str:
        """Return the path of the issue's sub-workflow."""
        steps = self.ask("GET", f"/workflows/catalogue/{issue}?steps=1")["steps"]
        (child,) = [step["child"] for step in steps if "child" in step]
        return f"/workflows/{child['workflow']}/{child['id']}"


@pytest.fixture(params=["postgres", "server", "sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgres":
        yield request.getfixturevalue("database").fresh()
    elif request.param == "server":
        with resonate_server(tmp_path) as server:
            yield server.url
    else:
        yield f"sqlite:///{tmp_path}/engine.db"


@pytest.fixture
def press(tmp_path: Path, engine: str) -> Iterator[Press]:
    shutil.copy(catalogue.__file__, tmp_path / "catalogue.py")
    (tmp_path / "sources.toml").write_text(SOURCE)
    secret = whsec()

    with Emulator(jobs={HOLDS: Job(fate="hold")}) as emulator, Outside(tmp_path / OUTSIDE) as outside:
        chosen = {
            "COUNTERSIGN_WORKFLOWS": "orchestrator.workflows,catalogue",
            "COUNTERSIGN_SOURCES": "sources.toml",
            "COURIER_SECRET": secret,
            "DATABRICKS_HOST": emulator.url,
            "DATABRICKS_TOKEN": emulator.token,
        }

        with Service(tmp_path, engine, environment=chosen, groups=("default", "db")) as service:
            service.start()
            yield Press(service, emulator, outside, secret)


@pytest.mark.timeout(180)
def test_whatever_is_killed_it_is_printed_once_and_a_cancelled_one_is_undone(press: Press) -> None:
    press.print("spring")
    press.crash("receiver")
    press.print("autumn")
    press.paid("spring")
    press.crash("worker")
    press.reserved("spring")
    press.crash("worker-2")
    links = press.asked("spring")
    press.approve(links[EDITORS[0]])
    press.crash("receiver")
    press.approve(links[EDITORS[1]])
    press.crash("worker")
    press.price("spring")
    press.crash("receiver", "worker", "worker-2")

    press.asked("autumn")
    press.approve(press.asked("autumn")[EDITORS[0]])
    press.ask("DELETE", "/workflows/catalogue/autumn")
    press.crash("worker", "receiver")

    press.deliver("spring")
    press.crash("worker", "receiver")
    press.archive("spring")
    press.crash("receiver", "worker")
    spring = press.ended("/workflows/catalogue/spring")
    autumn = press.ended("/workflows/catalogue/autumn")

    assert (spring["state"], spring["result"]) == (
        "succeeded",
        {
            "sheets": 400,
            "editors": EDITORS,
            "prices": {"tea": 300},
            "run_id": press.run_of("spring").run_id,
            "signed_for_by": "alan",
            "archived": "shelf 3",
        },
    )
    assert autumn["state"] == "cancelled"
    assert press.ended(press.child_of("spring"))["state"] == "succeeded"
    assert press.ended(press.child_of("autumn"))["state"] == "cancelled"

    # One run of each job and one charge for each, and all that was done for the cancelled one undone, once.
    assert press.jobs.runs_created() == 3
    assert press.run_of("autumn").result_state == "CANCELED"
    assert press.outside.effects("charge") == {"catalogue.spring": "2000", "catalogue.autumn": "2000"}
    assert press.outside.effects("reserve") == {"spring": "400", "autumn": "400"}
    assert press.outside.effects("refund") == {"catalogue.autumn": ""}
    assert press.outside.effects("release") == {"autumn": ""}

    # Both decisions of the one, and the only one of the other, are on record.
    assert decisions(press, "spring") == dict.fromkeys(EDITORS, "approve")
    assert decisions(press, "autumn") == {EDITORS[0]: "approve"}


def decisions(press: Press, issue: str) -> dict[str, str]:
    steps = press.ask("GET", f"/workflows/catalogue/{issue}?steps=1")["steps"]
    answers = [step["approval"]["answer"] for step in steps if "approval" in step]
    return {answer["person"]: answer["decision"] for answer in answers if answer is not None}
