"""The short code of a high-stakes question."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from orchestrator.callbacks.codes import ApprovalCodes
from orchestrator.secret import Secret

OLD, NEW = Secret(bytes(range(32))), Secret(bytes(range(1, 33)))
CODES = ApprovalCodes([OLD])


def test_a_code_is_the_same_every_time_and_another_for_each_wait_person_and_key() -> None:
    code = CODES.code("w.1:1", "a@x")

    assert re.fullmatch(r"[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}", code)
    assert ApprovalCodes([OLD]).code("w.1:1", "a@x") == code
    others = {CODES.code("w.1:2", "a@x"), CODES.code("w.1:1", "b@x"), ApprovalCodes([NEW]).code("w.1:1", "a@x")}
    assert len(others | {code}) == 4


@pytest.mark.parametrize(
    "change", [str, str.lower, lambda code: code.replace("-", ""), lambda code: f" {code[:2]} {code[2:]}\n"]
)
def test_it_is_right_however_it_is_typed(change: Callable[[str], str]) -> None:
    assert CODES.is_right(change(CODES.code("w.1:1", "a@x")), "w.1:1", "a@x")


@pytest.mark.parametrize("entered", ["", "AAAA-AAAA", "é", "A" * 10_000])
def test_anything_else_is_wrong(entered: str) -> None:
    assert not CODES.is_right(entered, "w.1:1", "a@x")
    assert not CODES.is_right(CODES.code("w.1:1", "a@x"), "w.1:1", "b@x")
    assert not CODES.is_right(CODES.code("w.1:1", "a@x")[:-1], "w.1:1", "a@x")


def test_after_a_key_rotation_the_code_in_the_mail_is_still_right() -> None:
    code = CODES.code("w.1:1", "a@x")

    assert ApprovalCodes([OLD, NEW]).is_right(code, "w.1:1", "a@x")
    assert not ApprovalCodes([NEW]).is_right(code, "w.1:1", "a@x")
