"""Payloads of the old form, which were not bound to a place, and where they are still accepted.

Nothing in such a payload proves where it was written. So one is accepted only below a workflow that was itself started
under the old form: its root holds an input of that form, and the input names the same root. A payload that was copied
anywhere else is refused, above all in a workflow that was started later. When no old workflow is left, removing the old
payload key from the list ends the old form permanently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator import stored_names
from orchestrator.engine.encryption.cipher import PayloadRefused, is_unbound
from orchestrator.engine.encryption.places import held, payload_of

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.engine.encryption.cipher import PayloadCipher


def may_be_unbound(record: PromiseRecord) -> bool:
    """Return whether a record may be of the old form, so that its workflow must be checked.

    It may be if it holds a payload of the old form, or no value where the new form always has one.
    """
    param, value = held(record.param), held(record.value)
    settled_without = record.state in {"resolved", "rejected", "rejected_canceled"} and value is None

    return settled_without or any(text is not None and is_unbound(payload_of(text)) for text in (param, value))


def unbound_param(record: PromiseRecord, cipher: PayloadCipher) -> Any:
    """Return the param of a record, opened under the old form; None if it is not of that form.

    Raises:
        PayloadKeyUnknown: a key is missing, so that cannot be decided.
    """
    try:
        return msgspec.json.decode(cipher.decrypt_unbound(payload_of(held(record.param) or "")))
    except (PayloadRefused, msgspec.DecodeError):
        return None


def workflow_of(promise_id: str, param: Any) -> str:
    """Return the id of the root of the workflow that a promise of the old form belongs to, given its param.

    The binding of a webhook delivery belongs to the workflow of the wait that it names, if its id matches its param.
    """
    match param:
        case {"source": str(source), "key": str(key), "wait": str(wait)} if (
            promise_id == f"countersign~delivery.{source}.{key}"
        ):
            promise_id = wait

    return promise_id.partition(":")[0].partition("~")[0]


def starts(param: Any, root_id: str) -> bool:
    """Return whether this is the param of this root."""
    match param:
        case {"func": str(name), "args": [{"countersign": stored_names.FORMAT, "root": str(root), "request": str()}]}:
            return root == root_id and root_id.startswith(f"{name}.")
        case _:
            return False
