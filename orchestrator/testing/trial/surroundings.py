"""What surrounds the process of a trial and outlives it: settings, mail, the Jobs API, the doubles of the test."""

from __future__ import annotations

import inspect
import math
import secrets
from typing import TYPE_CHECKING, Any

from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.addresses import EngineAddress
from orchestrator.config.mail_address import MailAddress
from orchestrator.config.secret import Secret
from orchestrator.config.settings import Settings
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.pace import Pace
from orchestrator.durable.dependencies import Dependency, dependency
from orchestrator.durable.tries import text_of
from orchestrator.errors import CountersignError, StepRefused
from orchestrator.mail.mailer import Mailer
from orchestrator.runs.definition import Workflow
from orchestrator.runs.loading import with_subworkflows
from orchestrator.testing.trial.jobs import TrialJobs
from orchestrator.testing.trial.mail import Postbox
from orchestrator.text.crashes import leaves_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.callbacks.claims import Claims
    from orchestrator.web.page_urls import PageURL
    from orchestrator.web.transport import Response

_PUBLIC_URL = "https://trial.invalid"


class RecordingSigner(TokenSigner):
    """A signer that remembers what it minted, so that a trial can answer with the token that was handed out."""

    def __init__(self, keys: tuple[Secret, ...], *, clock: Callable[[], float]) -> None:
        super().__init__(keys, clock=clock)
        self.minted: dict[tuple[str, int | None], dict[str, Claims]] = {}

    def mint(self, claims: Claims) -> str:
        """Return the token of these claims."""
        token = super().mint(claims)
        self.minted.setdefault((claims.promise_id, claims.opened_at), {})[claims.subject] = claims

        return token


class NoNetwork:
    """What fetches pages in a trial, unless the test passes pages of its own."""

    async def get(self, url: PageURL) -> Response:
        """Refuse.

        Raises:
            StepRefused: always; says how a test provides pages.
        """
        raise StepRefused(f"a trial has no network: pass Pages that know {url} to Trial(dependencies=[...])")


class Surroundings:
    """Everything outside of the process, and the workflows by name: the given ones and what else their modules name."""

    def __init__(
        self,
        workflows: Iterable[Workflow[Any]],
        dependencies: Iterable[object] | Mapping[Any, object],
        *,
        name: str,
        clock: Callable[[], float],
    ) -> None:
        self.deploy(workflows)
        self.objects, self.factories = _split(dependencies)
        self.settings = Settings(
            engine=EngineAddress(kind="memory", url=Secret("memory://"), path=None, display="memory://"),
            signing_keys=(Secret(secrets.token_bytes(32)),),
            payload_keys=(),
            public_url=_PUBLIC_URL,
            name=name,
            mail=MailAddress(kind="smtps", host="trial.invalid", port=465, sender="countersign@trial.invalid"),
        )
        self.signer = RecordingSigner(self.settings.signing_keys, clock=clock)
        self.postbox = Postbox()
        self.jobs = TrialJobs(clock)
        #: What the code of a workflow raised, by its root's id.
        self.crashes: dict[str, str] = {}
        self._clock = clock

    def deploy(self, workflows: Iterable[Workflow[Any]]) -> None:
        """Let the lives of the process that begin from now on have these workflows, and no others."""
        self.workflows = _all_of(tuple(workflows))

    def note_crash(self, root_id: str, error: BaseException) -> None:
        """Keep the text of an error that the code of a workflow raised, for the test to show."""
        leaves = leaves_of(error) if isinstance(error, BaseExceptionGroup) else [error]
        # The texts of our own errors are in that of the workflow, or in those of its steps.
        told = [f"{type(each).__name__}: {text_of(each)}" for each in leaves if not isinstance(each, CountersignError)]

        if told:
            self.crashes[root_id] = "; ".join(told)

    def databricks(self) -> Databricks:
        """Return the port to the Jobs API, for one life of the process."""
        return Databricks(lambda: self.jobs, run=_at_once, pace=Pace(rate=math.inf, clock=self._clock))

    def mailer(self, clock: Callable[[], float]) -> Mailer:
        """Return what sends mail, for one life of the process."""
        return Mailer(self.settings.mail, name=self.settings.name, clock=clock, deliver=self.postbox.deliver)


async def _at_once[T](work: Callable[[], T]) -> T:
    return work()


def _all_of(given: tuple[Workflow[Any], ...]) -> dict[str, Workflow[Any]]:
    for one in given:
        if not isinstance(one, Workflow):
            raise TypeError(f"a trial takes workflows, which @workflow makes of functions, not {one!r}")

    if not given:
        raise TypeError("a trial needs at least one workflow: Trial(my_workflow)")

    found: dict[tuple[str, int], Workflow[Any]] = {}

    for one in given:
        if found.setdefault((one.name, one.version), one) is not one:
            which = one.name if one.version == 1 else f"{one.name}, version {one.version}"
            raise ValueError(f"two workflows have the same name: {which}")

    chosen = {one.name for one in given}

    # As in production, where a module is loaded as a whole: a workflow may run another one. The versions of the given
    # ones are up to the test.
    for one in given:
        for value in getattr(one.body, "__globals__", {}).values():
            if isinstance(value, Workflow) and value.name not in chosen:
                found.setdefault((value.name, value.version), value)

    return {one.name: one for one in with_subworkflows(found.values())}


def _split(
    dependencies: Iterable[object] | Mapping[Any, object],
) -> tuple[Iterable[object] | Mapping[Any, object], tuple[Dependency[Any], ...]]:
    """Return the objects that stand in for dependencies, and the factories that do."""
    if hasattr(dependencies, "items"):
        return dependencies, ()

    given = list(dependencies)
    factories = [one for one in given if isinstance(one, Dependency) or inspect.isfunction(one)]
    objects = [one for one in given if one not in factories]

    return objects, tuple(one if isinstance(one, Dependency) else dependency(one) for one in factories)
