"""JSON from strangers is read strictly and compared as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text.strict_json import MAX_DEPTH, MAX_DIGITS, json_equal, loads_strict

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**300), max_value=10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_texts, inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="white space only"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\xc0\x80"', id="overlong UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="surrogate in UTF-8"),
        pytest.param(rb'"\ud800"', id="lone high surrogate"),
        pytest.param(rb'"\uDFFF"', id="lone low surrogate"),
        pytest.param(rb'"\udc00\ud800"', id="surrogates the wrong way round"),
        pytest.param(rb'[{"x": ["\ud800"]}]', id="lone surrogate deep inside"),
        pytest.param(rb'{"\ud800": 1}', id="lone surrogate in a key"),
        pytest.param(b'{"a": 1, "a": 1}', id="repeated key"),
        pytest.param(b'{"a": 1, "\\u0061": 2}', id="repeated key spelt otherwise"),
        pytest.param(b'[{"b": {"a": 1, "a": 2}}]', id="repeated key deep inside"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[Infinity]", id="Infinity"),
        pytest.param(b"-Infinity", id="minus Infinity"),
        pytest.param(b"1e400", id="overflow"),
        pytest.param(b"[-1E400]", id="negative overflow"),
        pytest.param(b"1" * 400 + b".5", id="overflow without an exponent"),
        pytest.param(b"1" * (MAX_DIGITS + 1), id="absurd integer"),
        pytest.param(b"9" * 60_000, id="integer Python itself refuses"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b"[1,]", id="trailing comma"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b"01", id="leading zero"),
        pytest.param(b"+1", id="plus sign"),
        pytest.param(b'"a\nb"', id="raw control character"),
        pytest.param(b"// no\n1", id="comment"),
        pytest.param(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), id="one level too deep"),
        pytest.param(b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), id="objects too deep"),
        pytest.param(b"[" * 1_000_000, id="a million brackets"),
        pytest.param(b'{"a":' * 1_000_000, id="a million objects"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the text ") as refused:
        loads_strict(data)

    assert type(refused.value) is ValueError
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.timeout(20)  # where the scan for depth is quadratic this takes ten minutes
def test_an_endless_string_of_escapes_is_refused_in_linear_time() -> None:
    with pytest.raises(ValueError, match="the text is not JSON"):
        loads_strict(b"[" + b"[]," * 100 + b'"' + b'\\"' * 200_000 + b"\\")


def test_a_refusal_does_not_quote_the_text() -> None:
    for data in (b'{"secret": 1, "secret": 2}', b'"secret\xff"', b"secret", b'["secret" 1]'):
        with pytest.raises(ValueError, match="the text") as refused:
            loads_strict(data)

        assert "secret" not in repr(vars(refused.value)) + str(refused.value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b"null", None, id="null"),
        pytest.param(b' {"a": [1, 2.5, true]} \r\n', {"a": [1, 2.5, True]}, id="white space around"),
        pytest.param(rb'"\ud83d\ude00"', "\U0001f600", id="a surrogate pair"),
        pytest.param(rb'"\\ud800"', r"\ud800", id="an escaped backslash, not an escape"),
        pytest.param(rb'{"\ud83d\ude00": 1}', {"\U0001f600": 1}, id="a surrogate pair in a key"),
        pytest.param(b'{"a": {"a": 1}}', {"a": {"a": 1}}, id="the same key on two levels"),
        pytest.param(b'"' + b"[" * 200 + b'"', "[" * 200, id="brackets in a string"),
        pytest.param(rb'["\"' + b"[" * 200 + rb'\""]', ['"' + "[" * 200 + '"'], id="brackets after an escaped quote"),
        pytest.param(b'["\\\\"' + b",[]" * 100 + b"]", ["\\", *([] for _ in range(100))], id="an escaped backslash"),
        pytest.param(b"1e308", 1e308, id="nearly too large"),
        pytest.param(b"1e-400", 0.0, id="too small is zero"),
        pytest.param(b'{"__proto__": 1, "__py_pickle": "x"}', {"__proto__": 1, "__py_pickle": "x"}, id="plain data"),
    ],
)
def test_what_is_json_is_read(data: bytes, value: object) -> None:
    assert loads_strict(data) == value


def test_the_allowed_depth_is_allowed() -> None:
    value = loads_strict(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)

    for _ in range(MAX_DEPTH - 1):
        assert isinstance(value, list)
        (value,) = value

    assert value == []


@given(_values)
def test_whatever_is_written_as_json_is_read_back_equal(value: object) -> None:
    for ascii_only in (True, False):
        data = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False).encode()

        assert json_equal(loads_strict(data), value)


@given(st.binary() | _texts.map(str.encode) | st.text(r'[]{}",:\ude01.-+eN ').map(lambda text: text.encode()))
def test_any_bytes_are_either_refused_or_read_as_the_standard_parser_reads_them(data: bytes) -> None:
    try:
        value = loads_strict(data)
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017 the type is the point
    else:
        assert json.loads(data) == value
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}),
        ([], []),
        ({}, {}),
        (None, None),
        ([{"a": [True]}], [{"a": [True]}]),
        (10**300, 10**300),
    ],
)
def test_equal_as_json(one: object, other: object) -> None:
    assert json_equal(one, other)
    assert json_equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (False, 0),
        (False, None),
        (True, 1.0),
        (None, 0),
        ("1", 1),
        ("a", "A"),
        ("\u00e9", "e\u0301"),
        ([1], [True]),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ([], {}),
        ({}, None),
        ("", []),
        ({"a": 0}, {"a": False}),
        ({"a": 1}, {"a": 1, "b": None}),
        ({"a": None}, {"b": None}),
        (2**53 + 1, float(2**53)),
        ([[[0]]], [[[False]]]),
    ],
)
def test_different_as_json(one: object, other: object) -> None:
    assert not json_equal(one, other)
    assert not json_equal(other, one)


@given(_values, _values)
@pytest.mark.slow
def test_equality_is_that_of_a_canonical_text(one: Any, other: Any) -> None:
    assert json_equal(one, one)
    assert json_equal(one, other) == (_canonical(one) == _canonical(other))


def test_equality_needs_no_recursion() -> None:
    one: list[object] = []
    other: list[object] = []
    for _ in range(100_000):
        one, other = [one], [other]

    assert json_equal(one, other)


def _canonical(value: object) -> object:
    """Return a value whose `==` is JSON equality, made in another way than the code under test."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)

    if isinstance(value, int | float):
        return ("number", value.as_integer_ratio() if math.isfinite(value) else value)

    if isinstance(value, list):
        return ("array", [_canonical(item) for item in value])

    assert isinstance(value, dict)
    return ("object", {key: _canonical(item) for key, item in value.items()})
