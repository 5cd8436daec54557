"""The short code of a high-stakes question."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from resonate.types import PromiseRecord

from orchestrator.approvals.codes import ApprovalCodes
from orchestrator.config.secret import Secret
from orchestrator.durable.opened_at import MARK

OLD, NEW = Secret(bytes(range(32))), Secret(bytes(range(1, 33)))
CODES = ApprovalCodes([OLD])


def wait(*, promise_id: str = "w.1:1", opened_at: int = 5, marked: bool = True) -> PromiseRecord:
    return PromiseRecord(
        id=promise_id, state="pending", timeout_at=10, created_at=opened_at, tags=dict(MARK) if marked else {}
    )


WAIT = wait()


def test_a_code_is_the_same_every_time_and_another_for_each_wait_person_and_key() -> None:
    code = CODES.code(WAIT, "a@x")

    assert re.fullmatch(r"[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}", code)
    assert ApprovalCodes([OLD]).code(WAIT, "a@x") == code
    others = {
        CODES.code(wait(opened_at=6), "a@x"),
        CODES.code(wait(promise_id="w.1:2"), "a@x"),
        CODES.code(WAIT, "b@x"),
        ApprovalCodes([NEW]).code(WAIT, "a@x"),
    }
    assert len(others | {code}) == 5


@pytest.mark.parametrize(
    "change", [str, str.lower, lambda code: code.replace("-", ""), lambda code: f" {code[:2]} {code[2:]}\n"]
)
def test_it_is_right_however_it_is_typed(change: Callable[[str], str]) -> None:
    assert CODES.is_right(change(CODES.code(WAIT, "a@x")), WAIT, "a@x")


@pytest.mark.parametrize("entered", ["", "AAAA-AAAA", "é", "A" * 10_000])
def test_anything_else_is_wrong(entered: str) -> None:
    assert not CODES.is_right(entered, WAIT, "a@x")
    assert not CODES.is_right(CODES.code(WAIT, "a@x"), WAIT, "b@x")
    assert not CODES.is_right(CODES.code(WAIT, "a@x")[:-1], WAIT, "a@x")


def test_after_a_key_rotation_the_code_in_the_mail_is_still_right() -> None:
    code = CODES.code(WAIT, "a@x")

    assert ApprovalCodes([OLD, NEW]).is_right(code, WAIT, "a@x")
    assert not ApprovalCodes([NEW]).is_right(code, WAIT, "a@x")


def test_a_wait_that_was_opened_before_codes_named_its_moment_keeps_its_code() -> None:
    codes = ApprovalCodes([Secret(b"\2-key-of-the-token-tests-32-bytes")])
    before = wait(promise_id="approve_and_ship.7:1", marked=False)

    # Mailed by the release before.
    assert codes.code(before, "ada@example.org") == "77UZ-MM7M"
    assert not codes.is_right("77UZ-MM7M", wait(promise_id="approve_and_ship.7:1"), "ada@example.org")
