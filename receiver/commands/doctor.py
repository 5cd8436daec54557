"""Reads the configuration and checks each thing that it names, from the engine to the public URL. One line each.

It changes almost nothing: no mail is sent, no run is triggered, no task is taken, no engine file is created. An
embedded engine's file is locked while it is checked, so a receiver that is started in that second is refused. A remote
engine gets one small task for each worker group, to which any of the group's workers replies.

It never shows the unchanged text of a library's error, because that may quote a part of a secret. A failure is shown in
our own words, or by a server's reply, which is cut to length and from which every part of a configured secret is
removed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import logging
import os
import secrets
import sys
import traceback
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from orchestrator.config.secret_fragments import Fragments, credentials
from orchestrator.config.settings import load_settings
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.run import RunGone
from orchestrator.engine import connect
from orchestrator.engine.remote.postgres_search import lists_sql
from orchestrator.engine.search import RootSearch
from orchestrator.errors import ConfigurationError, CountersignError, EngineInUse, EngineUnavailable
from orchestrator.llm.chat import LanguageModel, Limits
from orchestrator.mail.mailer import Mailer
from orchestrator.runs.group_ping import is_served
from orchestrator.runs.loading import groups_of, load_workflows
from receiver.senders.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from orchestrator.config.settings import Settings
    from orchestrator.engine import Engine

_SECONDS: Final = 5.0
_LONGEST_LINE: Final = 600

#: A model that was not used for a while is loaded first.
_MODEL_SECONDS: Final = 60.0

#: Reading a run needs a workspace, credentials and the Jobs API. It does not matter whether this run exists.
_SOME_RUN: Final = 1


class CheckFailedError(CountersignError):
    """Something that the configuration names does not work. The message says why and contains no secret."""


async def check_engine(settings: Settings) -> str:
    """Return a line about the engine. If another process owns it, that is fine: the receiver is running."""
    address = settings.engine

    if address.path is not None and not await anyio.Path(address.path).exists():
        return await _check_place(address.path)

    try:
        engine = await connect(settings, work=address.kind in {"embedded", "memory"})
    except EngineInUse:
        return f"{address.display} is open in another process: the receiver is running"

    try:
        await engine.check()
        lists = await _check_lists(engine) if address.kind == "postgres" else ""
    except EngineUnavailable as error:
        raise CheckFailedError(f"{error} {error.detail}") from error
    finally:
        await engine.stop()

    plain = address.kind == "server" and address.display.startswith("http://") and settings.resonate_token is not None
    payloads = "payloads encrypted" if settings.payload_keys else "payloads readable"

    return f"{address.display} answers, {payloads}{', RESONATE_TOKEN travels unencrypted' if plain else ''}{lists}"


async def _check_lists(engine: Engine) -> str:
    """Return what to do so that lists work and are fast, empty where nothing has to be done."""
    try:
        found = await engine.search.roots(RootSearch(limit=1))
    except EngineUnavailable as error:
        return f"; no lists: {error}"

    return "".join(f"; {caveat}" for caveat in found.caveats)


async def check_sources(settings: Settings) -> str:
    """Return a line about the file of webhook sources: it can be used, or none is configured."""
    if settings.sources is None:
        return "not configured: no third party can deliver (COUNTERSIGN_SOURCES)"

    workflows = load_workflows(settings.workflows)
    sources = await anyio.to_thread.run_sync(Sources, settings, workflows)

    return f"{settings.sources.name} names {', '.join(sources.names()) or 'nobody'}"


async def check_workers(settings: Settings) -> str:
    """Return a line about the workers: each group that the workflows need has one. A group without one only waits."""
    groups = groups_of(load_workflows(settings.workflows).values())

    if settings.engine.embedded:
        return f"the receiver works for all groups: {', '.join(groups)}"

    engine = await connect(settings, work=False)

    try:
        answers = await asyncio.gather(*(is_served(engine, group, seconds=_SECONDS) for group in groups))
    finally:
        await engine.stop()

    absent = [group for group, served in zip(groups, answers, strict=True) if not served]

    if absent:
        started = ", ".join(f"python -m orchestrator --group {group}" for group in absent)
        raise CheckFailedError(f"nobody answers for group {', '.join(absent)} within {_SECONDS:g} s; start {started}")

    return f"every group answers: {', '.join(groups)}"


async def check_databricks(settings: Settings, databricks: Databricks | None = None) -> str:
    """Return a line about Databricks: the workspace accepts the credentials, or none are configured."""
    if databricks is None and not settings.databricks:
        return "not configured: no DATABRICKS_* is set"

    workspace = databricks if databricks is not None else Databricks(variables=settings.databricks)

    with contextlib.suppress(RunGone):
        await workspace.read(_SOME_RUN)

    return "the Jobs API accepts our credentials"


async def check_mail(settings: Settings) -> str:
    """Return a line about mail: the server accepts the user name and password. Sends nothing."""
    if settings.mail.kind == "none":
        return "not configured: a workflow that sends mail will fail (COUNTERSIGN_MAIL)"

    if settings.mail.kind == "console":
        return "printed to the console, links included"

    await Mailer(settings.mail).check()

    return f"{settings.mail.host}:{settings.mail.port} accepts mail from {settings.mail.sender}"


async def check_model(settings: Settings) -> str:
    """Return a line about the language model: it answered a short question."""
    model = LanguageModel(settings.llm, limits=Limits(connect=_SECONDS, silence=_MODEL_SECONDS, total=_MODEL_SECONDS))
    await model.ask([{"role": "user", "content": "Answer with the word yes."}], key=secrets.token_hex(16))

    return f"{model.name} answers"


async def check_public_url(settings: Settings) -> str:
    """Return a line about the public URL: the receiver responds where minted links point, seen from this machine."""
    url = f"{settings.public_url}/healthz"
    await anyio.to_thread.run_sync(_get, url)

    return f"{url} answers"


CHECKS: Final[Mapping[str, Callable[[Settings], Awaitable[str]]]] = {
    "engine": check_engine,
    "sources": check_sources,
    "workers": check_workers,
    "Databricks": check_databricks,
    "mail": check_mail,
    "public URL": check_public_url,
}


async def examine(settings: Settings, report: Callable[[str], None]) -> bool:
    """Report one line for each check, in order, and return whether all passed. Only a model that is named is asked."""
    well = True
    fragments = Fragments(credentials(settings))

    checks = {**CHECKS, "model": check_model} if settings.llm is not None else CHECKS

    for name, check in checks.items():
        try:
            report(f"{name:<13} ok      {await check(settings)}")
        except CountersignError as error:
            well = False
            report(f"{name:<13} failed  {fragments.cut_from(_one_line(str(error)))}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a workflow module may raise anything
            well = False
            report(f"{name:<13} failed  {_place(error)}")

    return well


def main(arguments: Sequence[str] = (), *, prog: str = "scripts/doctor") -> int:
    """Run all checks; return the exit code: 0 if all pass, 1 if any fails."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Checks each thing that the configuration names, and prints one line for each.",
        epilog="It reads COUNTERSIGN_* variables and .env. The exit code is 1 if any check fails.",
    )
    parser.add_argument(
        "--sql",
        action="store_true",
        help="only print the SQL that makes lists fast on Postgres, for the owner of the database to apply with psql",
    )

    if parser.parse_args(arguments).sql:
        _show(lists_sql().rstrip())
        return 0

    logging.disable(logging.CRITICAL)  # the report says what matters, and libraries log whole requests

    try:
        settings = load_settings()
    except ConfigurationError as error:
        _show(f"{'configuration':<13} failed  {error}")
        return 1
    except Exception as error:  # noqa: BLE001 - as in `examine`
        _show(f"{'configuration':<13} failed  {_place(error)}")
        return 1

    _show(f"{'configuration':<13} ok      {len(settings.workflows)} workflow modules, group {settings.group}")

    try:
        return 0 if asyncio.run(examine(settings, _show)) else 1
    except KeyboardInterrupt:
        return 1


def _show(line: str) -> None:
    """Print a line, whatever the terminal's encoding."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding))


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)

    return " ".join(printable.split())[:_LONGEST_LINE]


def _place(error: BaseException) -> str:
    """Return the error's type and where it was raised. Its text is left out, because it may quote anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]

    return f"unexpectedly, with {type(error).__name__} in line {place.lineno} of {Path(place.filename).name}"


async def _check_place(path: Path) -> str:
    """Return that a missing file can be created."""
    place = anyio.Path(path).parent

    while not await place.exists():
        place = place.parent

    if not await place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise CheckFailedError(f"{path} does not exist and cannot be created: {place} is not a writable directory")

    return f"{path} does not exist yet and will be created"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, because a redirected callback would lose its POST."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return no request, so that the redirect itself is the response."""


def _get(url: str) -> None:
    opener = urllib.request.build_opener(_NoRedirect)

    try:
        with opener.open(url, timeout=_SECONDS):
            return

    except urllib.error.HTTPError as error:
        reason = f"{url} answers {error.code}: is another service running there?"
    except urllib.error.URLError as error:
        reason = f"{url} cannot be reached ({type(error.reason).__name__}): is the receiver running?"
    except (OSError, http.client.HTTPException) as error:
        reason = f"{url} cannot be read ({type(error).__name__})"

    raise CheckFailedError(reason)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
