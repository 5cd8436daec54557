"""`python -m orchestrator.testing.emulator` and `countersign emulator`: a Databricks workspace on loopback."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from orchestrator.databricks import NOTEBOOK
from orchestrator.testing.emulator.definitions import Fate, Job, read_job
from orchestrator.testing.emulator.jobs_api import Emulator

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m orchestrator.testing.emulator") -> int:
    """Serve until SIGTERM or SIGINT. The first line printed is the address. Return the exit code, 2 if refused."""
    given = _parser(prog).parse_args(arguments)
    declared = None if given.declare is None else dict(given.declare)
    jobs = {
        job_id: Job(fate=fate, parameters=declared, notebook=str(given.notebook), environment=dict(given.environment))
        for job_id, fate in given.job or ([] if given.jobs else [(1, "notebook")])
    } | (given.jobs or {})

    try:
        emulator = Emulator(jobs=jobs, token=given.token, port=given.port, startup=given.startup, state=given.state)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no such port"
        print(f"{prog}: port {given.port} cannot be bound: {reason}", file=sys.stderr)

        return 2

    # uvicorn handles signals only while it serves, and raises them again at the end. Being stopped is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: emulator.end())

    print(emulator.url, flush=True)
    shown = (f"{job_id} ({', '.join(job.tasks) if job.tasks else job.fate})" for job_id, job in jobs.items())
    print(f"jobs: {', '.join(shown)}", file=sys.stderr, flush=True)
    emulator.serve()

    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="A Databricks workspace on loopback: the part of the Jobs API that one job needs. "
        "Its address is the first line that it prints: set DATABRICKS_HOST to it, and DATABRICKS_TOKEN to the token.",
    )
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0, the default, takes any free one")
    parser.add_argument("--token", default="emulator-token", help="what clients must present (default: %(default)s)")
    parser.add_argument(
        "--job",
        action="append",
        type=_job,
        metavar="ID=FATE",
        help=f"a job and what becomes of its runs: {', '.join(get_args(Fate))} (default: 1=notebook)",
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        metavar="FILE",
        help="a JSON file of jobs by id, for what --job cannot say: tasks, outputs, retries, limits, notifications",
    )
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK, help="the file that jobs of fate notebook run")
    parser.add_argument(
        "--declare", action="append", type=_pair, metavar="NAME=DEFAULT", help="a parameter that the jobs declare"
    )
    parser.add_argument(
        "--environment",
        action="append",
        type=_pair,
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable of the notebook",
    )
    parser.add_argument("--startup", type=float, default=0.0, metavar="SECONDS", help="how long a run is PENDING")
    parser.add_argument("--state", type=Path, help="a file that stores the runs")

    return parser


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")

    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with NAME=")

    return name, value


def _jobs(path: str) -> dict[int, Job]:
    try:
        return {int(job_id): read_job(job) for job_id, job in json.loads(Path(path).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{path} does not describe jobs: {error}") from None


def _job(text: str) -> tuple[int, Fate]:
    job_id, _, fate = text.partition("=")

    if not (job_id.isascii() and job_id.isdigit()) or fate not in get_args(Fate):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not ID=FATE, with a number and one of {', '.join(get_args(Fate))}"
        )

    return int(job_id), cast("Fate", fate)


if __name__ == "__main__":
    sys.exit(main())
