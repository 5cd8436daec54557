"""The benchmark: how fast the service is, compared with the bare framework and with the SDK alone, on this machine.

Everything runs on loopback; each server and the load generator are processes of their own. The speed of a machine
drifts. So the measurements take turns, each is compared with its neighbours of the same turn, and the median of the
turns is shown. A figure can be compared only with others of the same run, so goals are ratios wherever possible.

A missed goal is reported and is not an error. A wrong response, a workflow that does not finish or a callback that is
applied twice is an error, and the exit code is 1.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.testing.processes import NotAsExpected, free_port
from receiver.benchmark.load import Load, request, run_load
from receiver.benchmark.servers import bench_signer
from receiver.benchmark.subjects import BODY, Ours, Raw, database, ids, killed, program
from receiver.benchmark.table import doubts, machine, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from receiver.benchmark.plan import Plan
    from receiver.benchmark.subjects import Subject

#: How many workflows are checked, and how many callbacks are repeated, after each batch of our own service.
_SAMPLE: Final = 200
_REFUSED: Final = (401, 429)
_UNPROCESSABLE: Final = 422


class Bench:
    """One run. It collects samples by name: rates per second, times in seconds, memory in MiB."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.samples: dict[str, list[float]] = {}
        self._plan = plan
        self._folder = folder
        self._folders = 0

    def run(self) -> None:
        """Measure everything.

        Raises:
            NotAsExpected: a result was wrong, so its speed means nothing.
        """
        plan = self._plan

        with database() as fresh_database:
            for turn in range(plan.repetitions):
                say(f"repetition {turn + 1} of {plan.repetitions}")
                self._ceiling()
                self._alone()

                for size in plan.sizes:
                    self._embedded(size)

                    if size in plan.raw_sizes:
                        with killed(Raw(self._new_folder())) as raw:
                            self._batch("raw", raw, size)

                if fresh_database is not None:
                    self._postgres(fresh_database)

            say("one callback at a time")
            self._one_by_one("embedded", self._new_engine(), prefer="wait=10")

            if fresh_database is not None:
                # Without `Prefer`: over a remote engine it would poll only now and then.
                self._one_by_one("postgres", fresh_database(), prefer=None)

        say("memory, and a restart over open workflows")
        self._memory_and_restart()

        if plan.gone:
            say(f"{plan.gone} workflows come and go")
            self._come_and_go()

    def _ceiling(self) -> None:
        chain = [request("POST", "/callbacks", token=bench_signer().sign("c" * 200).decode(), body=BODY)]

        for name in ("bare", "verified"):
            process, port = program(self._new_folder(), name)
            try:
                report = run_load(Load(port=port, chains=[chain], expect="settled", seconds=self._plan.seconds))
            finally:
                process.kill()
                process.wait()

            self._take(name, report.rate)

    def _alone(self) -> None:
        """Measure a receiver whose remote engine is unreachable: forged tokens are refused without an engine."""
        unreachable = f"http://127.0.0.1:{free_port()}"

        with killed(Ours(self._new_folder(), unreachable, workflows="orchestrator.workflows")) as ours:
            ours.start_alone()
            self._take("memory alone", ours.memory())
            genuine = ours.token("0")
            forged = genuine[:-2] + ("AA" if genuine[-2:] != "AA" else "BA")
            chain = [request("POST", "/callbacks", token=forged, body=BODY)]
            report = run_load(
                Load(port=ours.port, chains=[chain], statuses=_REFUSED, seconds=self._plan.seconds, expect="urn:")
            )
            self._take("forged", report.rate)
            self._take("memory alone, busy", ours.memory())

    def _embedded(self, size: int) -> None:
        with self._ours(self._new_engine()) as ours:
            self._batch("embedded", ours, size)

    def _postgres(self, fresh_database: Callable[[], str]) -> None:
        size = self._plan.postgres

        with self._ours(fresh_database()) as ours:
            self._batch("postgres", ours, size)

        with killed(Raw(self._new_folder(), fresh_database())) as raw:
            self._batch("raw postgres", raw, size)

    def _one_by_one(self, name: str, engine: str, *, prefer: str | None) -> None:
        batch = ids("one", self._plan.latency)

        with self._ours(engine) as ours:
            ours.suspend(batch)
            chains = [[ours.calling_back(one), ours.looking(one, prefer)] for one in batch]
            report = run_load(
                Load(port=ours.port, chains=chains, expect='"state":"succeeded"', until=True, connections=1)
            )
            self._take(f"{name} latency", *report.durations)

    def _memory_and_restart(self) -> None:
        count = self._plan.memory

        with self._ours(self._new_engine()) as ours:
            self._take("memory empty", ours.memory())
            ours.suspend(ids("first", count))
            self._take("memory suspended", ours.memory())
            ours.settle(ids("first", count))
            time.sleep(self._plan.rest)
            self._take("memory finished", ours.memory())

            ours.suspend(ids("second", count))
            self._take("memory suspended again", ours.memory())
            ours.kill()
            self._take("restart", ours.start())
            ours.settle(ids("second", count))
            self._check(ours, ids("second", count))

    def _come_and_go(self) -> None:
        few, many = self._plan.sizes[0], self._plan.sizes[-1]

        with self._ours(self._new_engine()) as ours:
            for turn in range(self._plan.repetitions):
                self._batch("before", ours, few, f"before{turn}")

            self._take("memory before", ours.memory())

            for turn in range(self._plan.gone // many):
                ours.suspend(ids(f"gone{turn}", many))
                ours.settle(ids(f"gone{turn}", many))

            time.sleep(self._plan.rest)
            self._take("memory after", ours.memory())

            for turn in range(self._plan.repetitions):
                self._batch("after", ours, few, f"after{turn}")

    def _batch(self, name: str, subject: Subject, size: int, prefix: str = "") -> None:
        batch = ids(f"{prefix}{size}", size)
        subject.suspend(batch)
        callbacks, resumes = subject.settle(batch)
        self._take(f"{name} callbacks {size}", callbacks)
        self._take(f"{name} resumes {size}", resumes)

        if isinstance(subject, Ours):
            self._check(subject, batch)

    def _check(self, ours: Ours, batch: Sequence[str]) -> None:
        """Check that workflows have finished, and that their callbacks are not applied a second time."""
        some = batch[:: max(1, len(batch) // _SAMPLE)]
        finished, again, changed = (
            [[make(one)] for one in some]
            for make in (ours.looking, ours.calling_back, lambda one: ours.calling_back(one, "1"))
        )
        run_load(Load(port=ours.port, chains=finished, expect='"state":"succeeded"', until=True))
        run_load(Load(port=ours.port, chains=again, expect='"duplicate":true'))
        run_load(Load(port=ours.port, chains=changed, statuses=(_UNPROCESSABLE,)))

    @contextlib.contextmanager
    def _ours(self, engine: str) -> Iterator[Ours]:
        with killed(Ours(self._new_folder(), engine)) as ours:
            seconds = ours.start()

            if engine.startswith("sqlite:"):
                self._take("start", seconds)

            yield ours

    def _new_engine(self) -> str:
        return f"sqlite:///{self._new_folder()}/engine.db"

    def _new_folder(self) -> Path:
        self._folders += 1
        folder = self._folder / str(self._folders)
        folder.mkdir()

        return folder

    def _take(self, name: str, *values: float) -> None:
        self.samples.setdefault(name, []).extend(values)


def run_plan(plan: Plan, samples: Path | None) -> int:
    """Measure, print the table, write every sample to this file if there is one, and return 0, or 1 for an error."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="countersign-bench-"))
    here = machine(folder)
    bench = Bench(plan, folder)

    try:
        bench.run()
    except NotAsExpected as error:
        say(f"WRONG: {error}\nThe logs are in {folder}")

        return 1

    shutil.rmtree(folder)

    if samples is not None:
        samples.write_text(json.dumps({"machine": here, "plan": asdict(plan), "samples": bench.samples}, indent=1))

    print(table(bench.samples, plan.sizes, plan.memory, plan.postgres), here, sep="\n\n")
    print("A share or a ratio is the median of those of the repetitions.", doubts(bench.samples))
    say(f"{time.monotonic() - began:.0f} s")

    return 0


def say(text: str) -> None:
    """Print progress to stderr; stdout has only the result."""
    print(text, file=sys.stderr, flush=True)
