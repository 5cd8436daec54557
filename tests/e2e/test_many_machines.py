"""Several receivers and workers of two groups, as processes, on the engines that many machines can share."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.configuration import environment
from support.engines import ResonateServer, resonate_server

from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Job
from orchestrator.testing.processes import ROOT, Response, Service, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from orchestrator.testing.emulator.workspace import Run

HOLDS = 1
GROUPS = ("default", "default", "db")
CUSTOMERS = ("ada", "grace", "edsger")

#: The statuses that the contract allows for a correct client, whatever happens to the machines behind the service.
CONTRACT = {"PUT": {200, 201, 503}, "POST": {200, 503}, "GET": {200, 404, 503}}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(jobs={HOLDS: Job(fate="hold")}) as one:
        yield one


class Engine:
    """A shared engine: its URL, and a way to make it unavailable for a while."""

    def __init__(self, url: str, outage: Callable[[], AbstractContextManager[None]]) -> None:
        self.url = url
        self.outage = outage


@pytest.fixture(params=["postgres", "server"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "postgres":
        database = request.getfixturevalue("database")
        yield Engine(database.fresh(), database.outage)
    else:
        with resonate_server(tmp_path) as server:
            yield Engine(server.url, server.outage)


class Client:
    """A correct client: it uses any receiver, and retries when there is no response or a 503."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._turns = itertools.count()
        self.seen: Counter[tuple[str, int]] = Counter()

    def ask(self, method: str, path: str, body: object = None, **options: Any) -> Response:
        end = time.monotonic() + 90

        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                receiver = next(self._turns) % len(self._service.ports)
                response = self._service.ask(method, path, body, receiver=receiver, **options)
                self.seen[method, response.status] += 1

                if response.status != 503:
                    return response

            time.sleep(0.1)

        pytest.fail(f"{method} {path} never got a response")

    def ended(self, path: str) -> dict[str, Any]:
        end = time.monotonic() + 90

        while time.monotonic() < end:
            response = self.ask("GET", path, headers={"Prefer": "wait=10"})

            if response.document.get("state") not in {"running", None}:
                return response.document

        pytest.fail(f"{path} did not end")


class Chaos(threading.Thread):
    """Kills and restarts one process after another, and makes the engine unavailable now and then."""

    def __init__(self, service: Service, engine: Engine) -> None:
        super().__init__()
        self._service = service
        self._engine = engine

    def run(self) -> None:
        chance = random.Random(5)  # noqa: S311 - the same order every time

        for _ in range(2):
            for name in chance.sample(self._service.names, len(self._service.names)):
                time.sleep(chance.uniform(0.2, 1))
                self._service.kill(name)
                self._service.launch(name)

            with self._engine.outage():
                time.sleep(1)


@pytest.mark.timeout(240)
def test_whatever_is_killed_nothing_is_lost_and_nothing_done_twice(
    tmp_path: Path, emulator: Emulator, engine: Engine
) -> None:
    databricks = {"DATABRICKS_HOST": emulator.url, "DATABRICKS_TOKEN": emulator.token}

    with Service(tmp_path, engine.url, environment=databricks, receivers=2, groups=GROUPS) as service:
        service.start()
        client = Client(service)
        chaos = Chaos(service, engine)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            chaos.start()
            load = Load(client, emulator, pool)

            while chaos.is_alive():
                load.more()

            chaos.join()
            service.start()
            load.rest()
            orders = list(pool.map(lambda n: client.ended(f"/workflows/process_order/o{n}"), range(load.orders)))
            pipelines = list(
                pool.map(lambda n: client.ended(f"/workflows/databricks_pipeline/p{n}"), range(load.pipelines))
            )

    assert {(method, status) for method, status in client.seen if status not in CONTRACT[method]} == set()
    assert {one["state"] for one in orders + pipelines} == {"succeeded"}

    # Every order of a customer has its own place in their history: none was entered twice, none is missing.
    for customer in CUSTOMERS:
        places = [one["result"]["earlier_orders"] for n, one in enumerate(orders) if customer_of(n) == customer]
        assert sorted(places) == list(range(len(places)))

    with contextlib.closing(sqlite3.connect(tmp_path / ".countersign/orders.db")) as book:
        assert book.execute("SELECT count(*) FROM orders").fetchone() == (len(orders),)

    # One run for each pipeline, and each pipeline ends with the result that was acknowledged to its own run.
    assert emulator.workspace.runs_created() == len(pipelines)
    assert {one["result"]["run_id"]: one["result"]["result"] for one in pipelines} == load.acknowledged


def customer_of(n: int) -> str:
    return CUSTOMERS[n % len(CUSTOMERS)]


class Load:
    """More and more orders and pipelines, and the reports of the pipelines' jobs."""

    def __init__(self, client: Client, emulator: Emulator, pool: concurrent.futures.Executor) -> None:
        self._client = client
        self._workspace = emulator.workspace
        self._pool = pool
        self._under_way: list[concurrent.futures.Future[None]] = []
        self.acknowledged: dict[int, dict[str, int]] = {}
        self._reported: set[int] = set()
        self.orders = self.pipelines = 0

    def more(self) -> None:
        for _ in range(5):
            self._under_way.append(self._pool.submit(self._order, self.orders))
            self.orders += 1

        self._under_way.append(self._pool.submit(self._pipeline, self.pipelines))
        self.pipelines += 1
        self._report()
        time.sleep(0.4)

    def rest(self) -> None:
        for one in self._under_way:
            one.result()

        wait_until("the jobs run", lambda: self._workspace.runs_created() == self.pipelines, seconds=90)
        self._report()

        for one in self._under_way:
            one.result()

    def _order(self, n: int) -> None:
        body = {"order_id": str(n), "items": ["tea", "tea", f"cup-{n}"], "customer": customer_of(n)}
        assert self._client.ask("PUT", f"/workflows/process_order/o{n}", body).document["id"] == f"o{n}"

    def _pipeline(self, n: int) -> None:
        self._client.ask("PUT", f"/workflows/databricks_pipeline/p{n}", {"job_id": HOLDS, "watch_interval": 2})

    def _report(self) -> None:
        for run in self._workspace.runs():
            if run.run_id not in self._reported:
                self._reported.add(run.run_id)
                self._under_way.append(self._pool.submit(self._answer, run))

    def _answer(self, run: Run) -> None:
        token = run.parameters["callback_url"].rpartition("/")[2]
        body = {"rows": run.run_id % 1000}
        assert self._client.ask("POST", "/callbacks", body, token=token).document["state"] == "settled"
        self.acknowledged[run.run_id] = body


@pytest.mark.timeout(180)
def test_of_a_hundred_callbacks_at_once_over_several_receivers_one_is_applied(
    tmp_path: Path, emulator: Emulator, engine: Engine
) -> None:
    databricks = {"DATABRICKS_HOST": emulator.url, "DATABRICKS_TOKEN": emulator.token}

    with Service(tmp_path, engine.url, environment=databricks, receivers=3) as service:
        service.start()

        for n in range(2):
            service.ask("PUT", f"/workflows/databricks_pipeline/p{n}", {"job_id": HOLDS})

        wait_until("the jobs run", lambda: emulator.workspace.runs_created() == 2)
        same, others = [run.parameters["callback_url"].rpartition("/")[2] for run in emulator.workspace.runs()]

        def deliver(token: str, n: int, key: str) -> Response:
            return service.ask(
                "POST", "/callbacks", {"n": n}, token=token, headers={"Idempotency-Key": key}, receiver=len(key) % 3
            )

        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            repeated = list(
                pool.map(lambda n: service.ask("POST", "/callbacks", 1, token=same, receiver=n % 3), range(100))
            )
            competing = list(pool.map(lambda n: deliver(others, n, "k" * (n + 1)), range(100)))

        shown = [
            service.ask("GET", f"/workflows/databricks_pipeline/p{n}", headers={"Prefer": "wait=20"}) for n in range(2)
        ]

    assert Counter((one.status, one.document.get("duplicate")) for one in repeated) == {
        (200, False): 1,
        (200, True): 99,
    }
    assert Counter(one.status for one in competing) == {200: 1, 409: 99}
    winner = next(n for n, one in enumerate(competing) if one.status == 200)
    results = {one.document["result"]["run_id"]: one.document["result"]["result"] for one in shown}
    assert sorted(map(str, results.values())) == sorted(["1", str({"n": winner})])


def test_a_worker_waits_for_an_engine_that_is_unreachable_at_its_start(tmp_path: Path) -> None:
    server = ResonateServer(tmp_path)

    with Service(tmp_path, server.url) as service, contextlib.ExitStack() as stack:
        service.launch("worker")
        wait_until(
            "the worker says that the engine is unreachable",
            lambda: "the engine is unreachable" in service.log.read_text(),
        )
        stack.callback(server.kill)
        server.start()
        service.start()
        quote = {"sku": "cup", "quantity": 3}
        answer = service.ask("PUT", "/workflows/price_quote/a", quote, headers={"Prefer": "wait=20"})

    assert (answer.status, answer.document["state"]) == (201, "succeeded")
    assert answer.document["result"].items() >= quote.items()


def test_a_database_without_the_schema_refuses_the_worker_with_the_command_that_installs_it(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("database").fresh(template="template0")
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)} | environment(url, PORT=str(free_port())),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith('psql "$COUNTERSIGN_ENGINE" -v ON_ERROR_STOP=1 -f resonate.sql')
    assert url not in line
