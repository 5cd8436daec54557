"""Opening the payloads of a record, and marking them as opened here.

Nothing here asks the engine: the caller passes what is known about a record's workflow.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec
from resonate.types import TaskData

from orchestrator.engine.encryption.cipher import PayloadKeyUnknown, PayloadRefused, is_unbound
from orchestrator.engine.encryption.places import (
    LIFE_TAG,
    held,
    is_over,
    is_timer,
    param_place_of,
    payload_of,
    value_place,
)

if TYPE_CHECKING:
    from resonate.types import PromiseRecord

    from orchestrator.engine.encryption.cipher import PayloadCipher

#: The function that the task of a tampered promise names. It is registered but never runs: a task whose promise is
#: settled is only closed.
TAMPERED: Final = "countersign.tampered"


class PayloadMarker:
    """The encryptor that the SDK gets: it marks payloads that were opened here, and accepts no others.

    So a payload that reaches the SDK in any other way than through `Seal` is refused.
    """

    def __init__(self) -> None:
        self._mark: Final = os.urandom(16)

    def encrypt(self, data: bytes) -> bytes:
        """Mark bytes that have not left this process yet."""
        return self._mark + data

    def decrypt(self, data: bytes) -> bytes:
        """Return bytes without their mark.

        Raises:
            PayloadRefused: the bytes were not marked here.
        """
        if not data.startswith(self._mark):
            raise PayloadRefused

        return data[len(self._mark) :]


class RecordReader:
    """Opens the payloads of records, and refuses records that were changed."""

    def __init__(self, cipher: PayloadCipher) -> None:
        self._cipher = cipher

    def read(
        self, record: PromiseRecord, anchor: str, life: str | None, *, runs: bool, old: bool
    ) -> tuple[bytes | None, bytes | None]:
        """Return the opened param and value of a record.

        `anchor` is that of the record. `life` is the life of the workflow that must have created the promise, None if
        that is not known. `runs` says that the record belongs to a task, `old` that payloads of the old form are
        accepted.

        Raises:
            PayloadRefused: the record does not hold what one of our processes wrote there.
            PayloadKeyUnknown: a key is missing, so that cannot be decided.
        """
        found = record.tags.get(LIFE_TAG)
        strange = life is not None and found != life and not (old and found is None)
        is_task = (runs or "resonate:target" in record.tags) and not is_timer(record)
        param, value = held(record.param), held(record.value)

        if strange or (is_task and param is None):
            raise PayloadRefused

        opened = None if param is None else self._opened(param, param_place_of(record), old=old)

        match record.state:
            case "pending":
                return opened, None
            case "rejected_timedout" if is_over(record):
                return opened, None
            case "resolved" if value is None and is_over(record) and is_timer(record):
                return opened, None
            case state if value is not None:
                return opened, self._opened(value, value_place(record.id, state, anchor), old=old)
            case _ if old:
                return opened, None
            case _:
                raise PayloadRefused

    def param_of_changed(self, record: PromiseRecord) -> bytes:
        """Return the param of a refused record, or a task that never runs if the param itself was changed."""
        try:
            param = held(record.param)
            opened = None if param is None else self._opened(param, param_place_of(record), old=False)
        except (PayloadRefused, PayloadKeyUnknown):
            opened = None

        return msgspec.json.encode(TaskData(func=TAMPERED)) if opened is None else opened

    def _opened(self, text: str, place: bytes, *, old: bool) -> bytes:
        payload = payload_of(text)

        if old and is_unbound(payload):
            return self._cipher.decrypt_unbound(payload)

        return self._cipher.decrypt(payload, place)
