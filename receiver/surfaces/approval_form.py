"""What the form of a question must have before its decision is recorded: a reason, the code from the mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.approvals.wording import label
from receiver.pages.approval import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.approvals.codes import ApprovalCodes
    from orchestrator.callbacks.deliver import Wait
    from orchestrator.callbacks.question import Asked
    from receiver.surfaces.edge import Edge

_LOCKED: Final = "A wrong code was entered too often, so nothing more can be recorded with this link."


class FormRefused(Exception):
    """A form whose decision cannot be recorded before one of its fields is mended."""

    def __init__(self, fault: Fault, *, status: int) -> None:
        super().__init__(fault.text)
        self.fault = fault
        self.status = status


class FormCheck:
    """Checks the fields of a form whose decision would be recorded."""

    def __init__(self, edge: Edge, codes: ApprovalCodes) -> None:
        self._edge = edge
        self._codes = codes

    async def __call__(self, asked: Asked, wait: Wait, decision: str, fields: Mapping[str, str]) -> None:
        """Return if nothing is missing in the form. The reason is checked first, because it costs no guess.

        Raises:
            FormRefused: what is missing or wrong.
            EngineUnavailable: whether a code was counted is unknown; repeating the same form is safe.
        """
        question = asked.question

        if question.needs_reason(decision, fields.get("comment", "")):
            words = label(decision)
            text = f"“{words}” needs a reason. Please write it in the comment, then press “{words}” again."
            raise FormRefused(Fault(field="comment", text=text), status=422)

        if question.code:
            await self._check_code(wait, fields.get("code", ""))

    async def _check_code(self, wait: Wait, code: str) -> None:
        """Return if the code is right. Every new guess is counted before it is compared."""
        subject = wait.claims.subject

        if not code.strip():
            raise _wrong_code("Please enter the code from your mail.")

        left = await self._codes.count(self._edge.engine.promises, wait.record, subject, code)

        if left is None:
            raise _wrong_code(_LOCKED)

        if not self._codes.is_right(code, wait.record, subject):
            raise _wrong_code(f"That is not the code from your mail. Tries left: {left}." if left else _LOCKED)


def _wrong_code(text: str) -> FormRefused:
    return FormRefused(Fault(field="code", text=text), status=403)
