"""Answering an open wait by hand, without its token: by an operator, whose key and reason are recorded with the answer.

What is recorded says that an operator gave it, so nobody takes it for the job's own report or for the decision of one
of the people who were asked. A wait is settled once here too. A request that is sent again finds what it recorded, also
where the workflow has opened the next wait under the same name meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from orchestrator.approvals.decision import Decision
from orchestrator.by_hand.finding import NotUsable, find_wait
from orchestrator.callbacks.choices import choices_of
from orchestrator.callbacks.outcomes import CLOSED, Outcome, body_of
from orchestrator.callbacks.question import Asked
from orchestrator.callbacks.settlement import resolve
from orchestrator.callbacks.wait_traces import trace_wait
from orchestrator.durable.opened_at import opened_at
from orchestrator.text.strict_json import json_equal, loads_strict
from orchestrator.text.times import rfc3339

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.callbacks.outcomes import Settled
    from orchestrator.callbacks.settlement import Verdict
    from orchestrator.engine import Engine

#: How many characters the reason may have.
MAX_REASON: Final = 2000

_FAILURE_FIELDS: Final = {"message", "details"}


@dataclass(frozen=True, kw_only=True)
class HandAnswer:
    """What an operator answers, and why. `by` is the name of their API key, `client` the address they came from.

    `body` is JSON text. For a question it is the comment, which is the reason where there is no body; for a failure it
    is `{"message": text, "details": anything}`. `step` is the promise id of the wait that is meant, needed only where
    more than one may be open. `key` names this answer among those of the operator; without it, an answer with the same
    content is the same answer.
    """

    outcome: str
    reason: str
    by: str
    body: str | None = None
    client: str | None = None
    step: str | None = None
    key: str | None = None

    @property
    def ikey(self) -> str:
        """The idempotency key that is recorded with the answer."""
        value = None if self.body is None else loads_strict(self.body.encode())
        content = json.dumps([self.outcome, self.reason, value], sort_keys=True)
        name = f"key:{self.key}" if self.key is not None else hashlib.sha256(content.encode()).hexdigest()

        return f"operator:{self.by}:{name}"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What became of an answer by hand: the verdict, the wait that was meant, and how it was settled."""

    verdict: Verdict
    wait: PromiseRecord
    settled: Settled


async def answer_by_hand(engine: Engine, root_id: str, callback: str, answer: HandAnswer) -> Answered:
    """Settle the open wait of this run with this name, unless it is over, and return which of the two happened.

    Does not check whether the operator may do this. Repeating the call is safe.

    Raises:
        UnknownPromise: there is no workflow with this root.
        UnknownCallback: it has opened no wait with this name.
        NotUsable: the wait does not allow this outcome, or not with this body, or there is no reason.
        EngineUnavailable: whether the wait is settled is unknown; repeating the call is safe.
    """
    if not answer.reason.strip() or len(answer.reason) > MAX_REASON:
        raise NotUsable("reason", f"A reason is needed, of 1 to {MAX_REASON} characters.")

    promises, ikey = engine.promises, answer.ikey
    await promises.get(root_id)
    found = await find_wait(
        promises, root_id, callback, step=answer.step, is_repeat=lambda settled: settled.ikey == ikey
    )
    wait, settled = found.record, found.settled
    outcome = _outcome(engine, wait, callback, answer)
    verdict: Verdict

    if settled is None:
        opened = opened_at(wait)
        settlement = await resolve(promises, wait.id, ikey=ikey, outcome=outcome, opened=opened)
        await trace_wait(engine, wait.id, opened, settlement)
        verdict, settled = settlement.verdict, settlement.settled
    else:
        verdict = "other"

    if verdict != "applied":
        verdict = _verdict(settled, ikey, outcome)

    return Answered(verdict=verdict, wait=wait, settled=settled)


def _outcome(engine: Engine, wait: PromiseRecord, callback: str, answer: HandAnswer) -> Outcome:
    """Return what is recorded.

    Raises:
        NotUsable: as for `answer_by_hand`.
    """
    allowed = choices_of(wait)

    if answer.outcome not in allowed:
        raise NotUsable("outcome", f"This callback allows: {', '.join(allowed) or 'nothing by hand'}.")

    asked = Asked.read(wait)
    body = answer.body

    if asked is not None:
        body = Decision(
            comment=_comment(answer),
            digest=asked.digest,
            client=answer.client,
            at=rfc3339(int(engine.clock() * 1000)),
        ).stored()
    elif answer.outcome == "failed":
        body = body_of(answer.reason) if body is None else _failure(body)
    elif body is None:
        body = "null"

    return Outcome(
        kind=answer.outcome, callback=callback, by="operator", body=body, subject=answer.by, reason=answer.reason
    )


def _comment(answer: HandAnswer) -> str:
    match None if answer.body is None else loads_strict(answer.body.encode()):
        case None:
            return answer.reason
        case str(comment) | {"comment": str(comment)}:
            return comment
        case other:
            return json.dumps(other, ensure_ascii=False)


def _failure(body: str) -> str:
    value = loads_strict(body.encode())

    if isinstance(value, dict) and isinstance(value.get("message"), str) and value.keys() <= _FAILURE_FIELDS:
        return body

    raise NotUsable("body", 'The body of a failure is {"message": text, "details": anything}; details is optional.')


def _verdict(settled: Settled, ikey: str, outcome: Outcome) -> Verdict:
    """Return the verdict on an answer to a wait that was settled before."""
    recorded = settled.outcome

    if recorded.kind in CLOSED:
        return "closed"

    if settled.ikey != ikey:
        return "other"

    same = (recorded.kind, recorded.reason) == (outcome.kind, outcome.reason)

    return "duplicate" if same and json_equal(_content(recorded), _content(outcome)) else "ikey_reused"


def _content(outcome: Outcome) -> Any:
    """Return what an answer says, without when and from where it came."""
    kept = Decision.read(outcome)

    return outcome.value if kept is None else kept.comment
