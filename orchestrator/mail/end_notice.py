"""Telling somebody by mail how a workflow ended. A mail that cannot be sent never changes how it ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from orchestrator.durable.opened_at import opened_at
from orchestrator.durable.persisting import DONE, persist
from orchestrator.engine import Engine
from orchestrator.errors import EngineUnavailable, StepRefused, StepUnavailable
from orchestrator.mail.mailer import Mailer
from orchestrator.mail.message import Message
from orchestrator.text.crashes import describe_crash

if TYPE_CHECKING:
    from orchestrator.durable.context import Context
    from orchestrator.durable.persisting import Tried

logger = logging.getLogger(__name__)

#: How often an unavailable mail server is tried: for about two minutes, because the workflow's end waits for it.
_TRIES: Final = 6


async def notify_end(
    ctx: Context, address: str | None, outcome: str, run_id: object, message: str | None = None
) -> None:
    """Mail this address, if there is one, how the workflow ended. A mail that cannot be sent is logged."""
    if address is not None:
        what = f"{outcome} ({'no run' if run_id is None else f'run {run_id}'})"
        what = what if message is None else f"{what}: {message}"
        await persist(ctx, notify, address, ctx.info.id, what, tries=_TRIES)


async def notify(ctx: Context, address: str, pipeline: str, what: str) -> Tried:
    """Mail how the pipeline ended."""
    message = Message(to=address, subject=f"{pipeline} {what.partition(':')[0]}", text=f"{pipeline}\n{what}\n")

    try:
        await ctx.get_dependency(Mailer).send(message, message_id=await _message_id(ctx, pipeline))
    except StepRefused as error:
        logger.warning("%s: the notification was refused: %s", pipeline, error)

        return {"again": False, "why": str(error)}
    except (StepUnavailable, EngineUnavailable) as error:
        logger.warning("%s: the notification is not sent yet: %s", pipeline, error)

        return {"again": True, "why": str(error)}
    except Exception as error:  # noqa: BLE001 - how the pipeline ended must not depend on a mail
        logger.error("%s: the notification cannot be sent: %s", pipeline, describe_crash(error))  # noqa: TRY400

        return {"again": False, "why": type(error).__name__}

    return DONE


async def _message_id(ctx: Context, pipeline: str) -> str:
    """Return the name of the mail. It differs for each start of the pipeline's id, since mailboxes drop duplicates."""
    started = opened_at(await ctx.get_dependency(Engine).promises.get(pipeline))

    return f"notify.{pipeline}" if started is None else f"notify.{pipeline}.{started}"
