"""Third-party webhook sources: a TOML file, checked completely before the first delivery, and reloaded on demand.

A source says how a sender signs and what its deliveries do. The file holds no secrets: it names variables and other
files. Nothing of a faulty file is used. An error names the source and the setting, never the value.
"""

from __future__ import annotations

import logging
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import ConfigurationError
from orchestrator.runs.definition import field_of
from receiver.senders.expressions import Expression
from receiver.senders.schemes.basic_password import BasicPassword
from receiver.senders.schemes.hmac_header import HeaderSignature
from receiver.senders.schemes.standard import StandardWebhooks
from receiver.senders.schemes.stripe import StripeSignature
from receiver.senders.secrets import SenderSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.config.secret import Secret
    from orchestrator.config.settings import Settings
    from orchestrator.runs.definition import Workflow
    from receiver.senders.schemes.scheme import Scheme

logger = logging.getLogger(__name__)

type Kind = Literal["standard", "stripe", "github", "slack", "shopify", "hmac", "databricks"]

VARIABLE: Final = "COUNTERSIGN_SOURCES"

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_PREFIX: Final = re.compile(r"[ -~]{0,64}", re.ASCII)
_MOST_SECRETS: Final = 8
_OF_HMAC: Final = ("header", "encoding", "hash", "prefix", "timestamp_header")
_NOT_OF_DATABRICKS: Final = ("token", "workflow", "input")

#: The notification of a task names the runs of the task and of the job, the notification of a job only the job's run.
_DATABRICKS_RUN: Final = "run.parent_run_id || run.run_id"

type _Text = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    """One `[sources.NAME]`."""

    # Built when a file is read: most receivers have none, and it takes a while.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    scheme: Kind
    secrets: Annotated[list[str], Field(min_length=1, max_length=_MOST_SECRETS)]
    token: _Text | None = None
    workflow: _Text | None = None
    id: _Text | None = None
    events: Annotated[list[_Text], Field(min_length=1)] | None = None
    event: _Text | None = None
    input: _Text | None = None
    header: _Text | None = None
    encoding: Literal["hex", "base64"] | None = None
    hash: Literal["sha256", "sha512"] | None = None
    prefix: str | None = None
    timestamp_header: _Text | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A sender, and what its deliveries do.

    With `workflow` they start that workflow, otherwise they settle waits; those of `databricks` only prompt a poll.
    """

    name: str
    kind: Kind
    scheme: Scheme
    token: Expression | None = None
    workflow: Workflow[Any] | None = None
    identity: Expression | None = None
    event: Expression | None = None
    events: frozenset[str] = frozenset()
    input: Expression | None = None


class Sources:
    """The current sources; none without a file.

    `environ` and `directory` replace the process environment and the working directory.
    """

    def __init__(
        self,
        settings: Settings,
        workflows: Mapping[str, Workflow[Any]],
        *,
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Read the file.

        Raises:
            ConfigurationError: the first fault. It names COUNTERSIGN_SOURCES, or the variable that holds a secret.
        """
        self._settings = settings
        self._workflows = workflows
        self._environ = environ
        self._directory = directory
        self._current = self._read()

    def get(self, name: str) -> Source | None:
        """Return the source of this name, None if there is none."""
        return self._current.get(name)

    def names(self) -> list[str]:
        """Return the names of the sources, in the order of the file."""
        return list(self._current)

    def reload(self) -> bool:
        """Read the file again, and return whether it is now in use. A faulty file changes nothing.

        It reads files, so do not call it on an event loop.
        """
        try:
            self._current = self._read()
        except ConfigurationError as error:
            logger.error("the sources stay as they were: %s", error)  # noqa: TRY400 - a traceback would add nothing
            return False

        logger.info("the sources were read again: %s", ", ".join(self._current) or "none")
        return True

    def _read(self) -> dict[str, Source]:
        file = self._settings.sources

        if file is None:
            return {}

        tables = _tables(file)
        secrets = SenderSecrets(self._settings, file.parent, environ=self._environ, directory=self._directory)

        return {name: self._source(name, table, secrets) for name, table in tables.items()}

    def _source(self, name: str, table: _Table, secrets: SenderSecrets) -> Source:
        _check(name, table)

        if table.workflow is not None and table.workflow not in self._workflows:
            raise fault(name, "workflow", "is not the name of a workflow")

        admit: Callable[..., Secret] = {
            "standard": secrets.standard,
            "stripe": secrets.stripe,
            "databricks": secrets.password,
        }.get(table.scheme, secrets.text)
        run = _DATABRICKS_RUN if table.scheme == "databricks" else None

        return Source(
            name=name,
            kind=table.scheme,
            scheme=_scheme(table, tuple(admit(name, reference) for reference in table.secrets)),
            token=_expression(name, "token", table.token),
            workflow=None if table.workflow is None else self._workflows[table.workflow],
            identity=_expression(name, "id", table.id or run),
            event=_expression(name, "event", table.event),
            events=frozenset(table.events or ()),
            input=_expression(name, "input", table.input),
        )


def fault(name: str, setting: str, reason: str) -> ConfigurationError:
    """Return the error for a setting of a source."""
    return ConfigurationError(VARIABLE, f"names a file whose source {name} cannot be used: {setting} {reason}")


def _tables(file: Path) -> dict[str, _Table]:
    """Return the tables of a file, each validated on its own."""
    try:
        document = tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise ConfigurationError(VARIABLE, f"names a file that cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(VARIABLE, "names a file that is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"at line \d+|at end of document", str(error))
        raise ConfigurationError(
            VARIABLE, f"names a file that is not TOML{f' ({place[0]})' if place else ''}"
        ) from None

    named = document.pop("sources", {})

    if document or not isinstance(named, dict) or not all(isinstance(table, dict) for table in named.values()):
        raise ConfigurationError(VARIABLE, "names a file that contains something other than [sources.NAME] tables")

    return {name: _table(name, table) for name, table in named.items()}


def _table(name: str, table: object) -> _Table:
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(VARIABLE, "names a file with a source whose name is not 1 to 64 of A-Z a-z 0-9 _ -")

    try:
        return _Table.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise fault(name, ascii(field_of(first["loc"]))[1:-1][:100], f"is invalid ({first['msg']})") from None


def _check(name: str, table: _Table) -> None:
    """Check that the settings fit each other."""
    for setting, wrong, reason in _rules(table):
        if wrong:
            raise fault(name, setting, reason)


def _rules(table: _Table) -> Iterator[tuple[str, bool, str]]:
    """Yield each setting that may conflict with another, whether it does, and the reason."""
    given = table.model_fields_set
    hmac, databricks = table.scheme == "hmac", table.scheme == "databricks"
    header, stamp = table.header or "", table.timestamp_header

    yield from ((one, one in given and not hmac, "belongs to the scheme hmac") for one in _OF_HMAC)
    yield from (
        (one, one in given and databricks, "cannot be used with the scheme databricks, whose deliveries are only hints")
        for one in _NOT_OF_DATABRICKS
    )
    yield "header", hmac and table.header is None, "is required by the scheme hmac"
    yield "header", hmac and _HEADER.fullmatch(header) is None, "is not the name of a header"
    yield "timestamp_header", stamp is not None and _HEADER.fullmatch(stamp) is None, "is not the name of a header"
    yield "timestamp_header", stamp is not None and stamp.lower() == header.lower(), "must be another header"
    yield "prefix", _PREFIX.fullmatch(table.prefix or "") is None, "must be visible ASCII"
    yield "token", None not in {table.token, table.workflow}, "and workflow exclude each other"
    yield "input", table.input is not None and table.workflow is None, "needs a workflow"
    yield "events", (table.events is None) != (table.event is None), "and event need each other"


def _scheme(table: _Table, secrets: tuple[Secret, ...]) -> Scheme:
    named: Mapping[Kind, Callable[[tuple[Secret, ...]], Scheme]] = {
        "standard": lambda keys: StandardWebhooks(secrets=keys),
        "stripe": lambda keys: StripeSignature(secrets=keys),
        "github": HeaderSignature.github,
        "slack": HeaderSignature.slack,
        "shopify": HeaderSignature.shopify,
        "databricks": lambda keys: BasicPassword(secrets=keys),
        "hmac": lambda keys: _own_scheme(table, keys),
    }

    return named[table.scheme](secrets)


def _own_scheme(table: _Table, secrets: tuple[Secret, ...]) -> HeaderSignature:
    stamp = table.timestamp_header

    return HeaderSignature(
        secrets=secrets,
        header=(table.header or "").lower().encode(),
        hash=table.hash or "sha256",
        encoding=table.encoding or "hex",
        prefix=(table.prefix or "").encode(),
        timestamp_header=None if stamp is None else stamp.lower().encode(),
    )


def _expression(name: str, setting: str, text: str | None) -> Expression | None:
    if text is None:
        return None

    try:
        return Expression(text)
    except ValueError as error:
        raise fault(name, setting, f"is not a JMESPath expression: {error}") from None
