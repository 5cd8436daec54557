"""Payloads of the form before payloads were bound to their place: where they are still taken.

Nothing in such a payload proves where it was written. So they are taken only below a workflow that was itself started
under that form: its root holds an input of that form, which names that very root. One that is copied anywhere else, and
above all into a workflow that was started since, is refused. When no such workflow is left, taking the old payload key
out of the list ends the form for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator import stored_names
from orchestrator.engine.encryption.cipher import PayloadRefused, is_unbound
from orchestrator.engine.encryption.places import held, payload_of

if TYPE_CHECKING:
    from orchestrator.engine.encryption.cipher import PayloadCipher


def may_be_unbound(record: dict[str, Any]) -> bool:
    """Whether a record holds a payload of the old form, or none where the new form has one: look at its workflow."""
    param, value = held(record, "param"), held(record, "value")
    settled_without = record["state"] in {"resolved", "rejected", "rejected_canceled"} and value is None

    return settled_without or any(text is not None and is_unbound(payload_of(text)) for text in (param, value))


def unbound_param(record: dict[str, Any], cipher: PayloadCipher) -> Any:
    """Return what the param of a record holds under the old form, None where it holds nothing under it.

    Raises:
        PayloadKeyUnknown: it cannot be told.
    """
    try:
        return msgspec.json.decode(cipher.decrypt_unbound(payload_of(held(record, "param") or "")))
    except (PayloadRefused, msgspec.DecodeError):
        return None


def workflow_of(promise_id: str, param: Any) -> str:
    """Return the root of the workflow that a promise of the old form belongs to, given its param, by its id.

    The binding of a webhook's delivery belongs to the workflow of the wait that it names, under an id that it names.
    """
    match param:
        case {"source": str(source), "key": str(key), "wait": str(wait)} if (
            promise_id == f"countersign~delivery.{source}.{key}"
        ):
            promise_id = wait

    return promise_id.partition(":")[0].partition("~")[0]


def starts(param: Any, root_id: str) -> bool:
    """Whether this is the param of this very root."""
    match param:
        case {"func": str(name), "args": [{"countersign": stored_names.FORMAT, "root": str(root), "request": str()}]}:
            return root == root_id and root_id.startswith(f"{name}.")
        case _:
            return False
