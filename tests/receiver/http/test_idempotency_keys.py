"""The `Idempotency-Key` header: one word of visible ASCII, once."""

from __future__ import annotations

import pytest

from receiver.http.idempotency_keys import idempotency_key
from receiver.http.problems import Problem


def test_a_key_is_taken_as_it_is_and_none_is_none() -> None:
    assert idempotency_key([]) is None
    assert idempotency_key(["!~aZ9"]) == "!~aZ9"
    assert idempotency_key(["x" * 255]) == "x" * 255


@pytest.mark.parametrize("values", [[""], ["a b"], ["a\n"], ["é"], ["x" * 256], ["a", "a"], ["a", "b"]])
def test_anything_else_is_refused(values: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        idempotency_key(values)

    assert refused.value.name == "invalid-key"
