"""A worker: an engine with the workflows registered and everything their steps need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.callbacks.codes import ApprovalCodes
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.callbacks.waiting import Links
from orchestrator.cancelling import PURSUE, pursue_cancel
from orchestrator.hinting import HINT, follow_hint
from orchestrator.later import PERSISTENT
from orchestrator.reminding import REMIND, remind
from orchestrator.steps.databricks import Databricks
from orchestrator.steps.mail import Mailer
from orchestrator.watching import LOOK, look

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.definition import Workflow
    from orchestrator.engine import Engine
    from orchestrator.settings import Settings


def equip(
    engine: Engine,
    settings: Settings,
    workflows: Iterable[Workflow[Any]],
    *,
    databricks: Databricks | None = None,
    mailer: Mailer | None = None,
) -> None:
    """Make a worker of this engine's process. It takes no task before `engine.start()`."""
    resonate = engine.resonate
    resonate.with_dependency(engine)
    resonate.with_dependency(Links(TokenSigner(settings.signing_keys), settings.public_url))
    resonate.with_dependency(ApprovalCodes(settings.signing_keys))
    resonate.with_dependency(databricks if databricks is not None else Databricks(variables=settings.databricks))
    resonate.with_dependency(mailer if mailer is not None else Mailer(settings.mail))

    for one in workflows:
        resonate.register(one, name=one.name)

    resonate.register(pursue_cancel, name=PURSUE)
    resonate.register(follow_hint, name=HINT)
    resonate.register(look, name=LOOK, retry_policy=PERSISTENT)
    resonate.register(remind, name=REMIND, retry_policy=PERSISTENT)
