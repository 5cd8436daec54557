"""A strict reader reads back what we write as JSON; otherwise an error names the place and not the value."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestrator.errors import NotJson
from orchestrator.text.json_writing import dumps_strict, escaped, readable
from orchestrator.text.strict_json import loads_strict

NAN = float("nan")


class Model(BaseModel):
    """A model."""

    price: float = 1.0
    name: str = ""
    extra: Any = None


@dataclasses.dataclass
class Data:
    """A dataclass."""

    price: float


class Colour(enum.StrEnum):
    """A text of a subclass."""

    RED = "red"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]

    return value


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NAN, "result is NaN, which JSON cannot hold"),
        (-math.inf, "result is infinite, which JSON cannot hold"),
        ({"items": [{}, {"price": NAN}]}, "result.items[1].price is NaN, which JSON cannot hold"),
        ({"it's me": NAN}, "result[key 1] is NaN, which JSON cannot hold"),
        (Model(price=NAN), "result.price is NaN, which JSON cannot hold"),
        ([Data(NAN)], "result[0].price is NaN, which JSON cannot hold"),
        ("a\ud800", "result holds a lone surrogate, which UTF-8 cannot hold"),
        ({"a": {"\udfff": 1}}, "key 1 of result.a holds a lone surrogate, which UTF-8 cannot hold"),
        (Model.model_construct(name="\ud800"), "result.name holds a lone surrogate, which UTF-8 cannot hold"),
        (b"\xff", "result holds text or bytes that UTF-8 cannot hold"),
        (10**309, "result is an integer of more than 309 digits, which JSON readers cannot hold"),
        (-(10**4000), "result is an integer of more than 309 digits, which JSON readers cannot hold"),
        ({1: "a", "1": "b"}, "result has two keys that are the same in JSON, number 2 and one before it"),
        ([object()], "result[0] is of the type object: it, or something in it, cannot be written as JSON"),
        (Model(extra=object()), "result is of the type Model: it, or something in it, cannot be written as JSON"),
        (len, "result is of the type builtin_function_or_method: it, or something in it, cannot be written as JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: object, message: str) -> None:
    with pytest.raises(NotJson) as caught:
        dumps_strict(value, "result")

    assert str(caught.value) == message


@pytest.mark.parametrize("value", [nested(65), nested(100_000), CIRCLE, {"a": CIRCLE}])
def test_what_has_no_end_is_refused(value: object) -> None:
    with pytest.raises(NotJson, match="nested too deeply: more than 64 levels"):
        dumps_strict(value, "result")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (nested(64), nested(64)),
        ({1: "a", False: "b", None: "c"}, {"1": "a", "false": "b", "None": "c"}),
        ((1, {2}), [1, [2]]),
        ([Colour.RED, b"abc", Model(), Data(2.0)], ["red", "abc", Model().model_dump(), {"price": 2.0}]),
        ("é😀", "é😀"),
        (-(10**300), -(10**300)),
    ],
)
def test_what_json_can_hold_is_written(value: object, written: object) -> None:
    assert loads_strict(dumps_strict(value, "result").encode()) == written


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(PLAIN)
@pytest.mark.slow
def test_whatever_is_written_is_read_by_a_strict_reader_as_it_was(value: object) -> None:
    try:
        text = dumps_strict(value, "result")
    except NotJson:
        with pytest.raises(ValueError, match=r"."):
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    else:
        assert loads_strict(text.encode()) == value


@given(st.text(st.characters()))
def test_text_is_escaped_where_it_is_no_utf_8_and_nowhere_else(text: str) -> None:
    escaped(text).encode()

    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert escaped(text) == text


def test_a_text_of_an_earlier_version_becomes_one_that_utf_8_can_hold() -> None:
    stored = json.dumps({"a\ud800": ["\udc00", "😀", 1.5, None]})

    assert json.loads(readable(stored) or "") == {"a\\ud800": ["\\udc00", "😀", 1.5, None]}
    assert readable(None) is None
    assert readable('"a"') == '"a"'
