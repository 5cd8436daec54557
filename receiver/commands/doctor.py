"""Reads the configuration and tries each thing it names, from the engine to the public URL. One line each.

Changes next to nothing: no mail is sent, no run is triggered, no task is taken, no engine file is created. An embedded
engine's file is held while it is looked at, so a receiver started in that very second is refused it. A remote engine
gets one small task for each worker group, which any of its workers answers.

It shows no text of a library as it is, because that may quote a piece of a secret. What fails is shown by a sentence of
ours, or by what a server said, cut and without any piece of what the configuration holds secret.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import logging
import os
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
from orchestrator.errors import ConfigurationError, CountersignError, EngineInUse, EngineUnavailable
from orchestrator.mail.mailer import Mailer
from orchestrator.runs.group_ping import is_served
from orchestrator.runs.loading import groups_of, load_workflows
from receiver.senders.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from orchestrator.config.settings import Settings

_SECONDS: Final = 5.0
_LONGEST_LINE: Final = 600

#: Asking for a run needs a workspace, credentials and the Jobs API; whether there is such a run does not matter.
_SOME_RUN: Final = 1


class CheckFailedError(CountersignError):
    """A thing the configuration names does not work. The message says why, without anything secret."""


async def check_engine(settings: Settings) -> str:
    """Return how the engine is doing. One that another process owns is well: the receiver is running."""
    address = settings.engine

    if address.path is not None and not await anyio.Path(address.path).exists():
        return await _check_place(address.path)

    try:
        engine = await connect(settings, work=address.kind in {"embedded", "memory"})
    except EngineInUse:
        return f"{address.display} is open in another process: the receiver is running"

    try:
        await engine.check()
    except EngineUnavailable as error:
        raise CheckFailedError(f"{error} {error.detail}") from error
    finally:
        await engine.stop()

    plain = address.kind == "server" and address.display.startswith("http://") and settings.resonate_token is not None
    payloads = "payloads encrypted" if settings.payload_keys else "payloads readable"

    return f"{address.display} answers, {payloads}{', RESONATE_TOKEN travels unencrypted' if plain else ''}"


async def check_sources(settings: Settings) -> str:
    """Return that the file of webhook sources can be used, or that there is none."""
    if settings.sources is None:
        return "not configured: no third party can deliver (COUNTERSIGN_SOURCES)"

    workflows = load_workflows(settings.workflows)
    sources = await anyio.to_thread.run_sync(Sources, settings, workflows)

    return f"{settings.sources.name} names {', '.join(sources.names()) or 'nobody'}"


async def check_workers(settings: Settings) -> str:
    """Return that somebody works for each group that the workflows need. What an absent group should do waits."""
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
    """Return that the workspace takes our credentials, or that none is named."""
    if databricks is None and not settings.databricks:
        return "not configured: no DATABRICKS_* is set"

    workspace = databricks if databricks is not None else Databricks(variables=settings.databricks)

    with contextlib.suppress(RunGone):
        await workspace.read(_SOME_RUN)

    return "the Jobs API takes our credentials"


async def check_mail(settings: Settings) -> str:
    """Return that the mail server takes our name and password. Sends nothing."""
    if settings.mail.kind == "none":
        return "not configured: a workflow that sends mail will fail (COUNTERSIGN_MAIL)"

    if settings.mail.kind == "console":
        return "printed to the console, links included"

    await Mailer(settings.mail).check()

    return f"{settings.mail.host}:{settings.mail.port} takes mail from {settings.mail.sender}"


async def check_public_url(settings: Settings) -> str:
    """Return that the receiver answers where minted links point to, as seen from this machine."""
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
    """Report one line for each check, in order, and return whether all are well."""
    well = True
    fragments = Fragments(credentials(settings))

    for name, check in CHECKS.items():
        try:
            report(f"{name:<13} ok      {await check(settings)}")
        except CountersignError as error:
            well = False
            report(f"{name:<13} failed  {fragments.cut_from(_one_line(str(error)))}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a module's, say: told without its text, then the next
            well = False
            report(f"{name:<13} failed  {_place(error)}")

    return well


def main(arguments: Sequence[str] = (), *, prog: str = "scripts/doctor") -> int:
    """Return the exit code: 0 when all is well, 1 when anything fails."""
    argparse.ArgumentParser(
        prog=prog,
        description="Tries each thing that the configuration names, and prints one line for each.",
        epilog="It reads COUNTERSIGN_* variables and .env. The exit code is 1 when anything fails.",
    ).parse_args(arguments)
    logging.disable(logging.CRITICAL)  # what matters is in the report, and libraries log whole requests

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
    """Print a line on a terminal of any encoding."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding))


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)

    return " ".join(printable.split())[:_LONGEST_LINE]


def _place(error: BaseException) -> str:
    """Return what was raised and where. Its text may quote whatever it was about."""
    place = traceback.extract_tb(error.__traceback__)[-1]

    return f"unexpectedly, with {type(error).__name__} in line {place.lineno} of {Path(place.filename).name}"


async def _check_place(path: Path) -> str:
    """Return that a file which is not there can be created."""
    place = anyio.Path(path).parent

    while not await place.exists():
        place = place.parent

    if not await place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise CheckFailedError(f"{path} is not there and cannot be created: {place} is not a directory to write in")

    return f"{path} is not there yet and will be created"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: a callback that is redirected loses its POST."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return no request, so that the redirection is the answer."""


def _get(url: str) -> None:
    opener = urllib.request.build_opener(_NoRedirect)

    try:
        with opener.open(url, timeout=_SECONDS):
            return

    except urllib.error.HTTPError as error:
        reason = f"{url} answers {error.code}: is something else there?"
    except urllib.error.URLError as error:
        reason = f"{url} cannot be reached ({type(error.reason).__name__}): is the receiver running?"
    except (OSError, http.client.HTTPException) as error:
        reason = f"{url} cannot be read ({type(error).__name__})"

    raise CheckFailedError(reason)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
