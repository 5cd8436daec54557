"""Writing JSON strictly: either every reader reads the same value, or an error names the place that is wrong.

Python's `json` writes NaN, lone surrogates and two keys that are spelt alike; other libraries leave out what they
cannot write. A workflow would then have ended with something that nobody can read. This file refuses what `strict_json`
would not read, and what is not JSON at all. An error names the place and never the value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_jsonable_python

from orchestrator.errors import NotJson
from orchestrator.text.strict_json import MAX_DEPTH, MAX_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST: Final = 10**MAX_DIGITS
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}", re.ASCII)
_LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def dumps_strict(value: object, place: str, *, convert: Callable[[Any], Any] = to_jsonable_python) -> str:
    """Return the value as one JSON text in ASCII.

    Dictionaries, lists, tuples and sets are taken apart here. `convert` turns everything else into JSON values, by
    default as pydantic does: models, dataclasses, dates, decimals and so on. `place` is what an error calls the value.

    Raises:
        NotJson: NaN or infinity, a lone surrogate, an integer that no double can hold, more than 64 levels, two keys
            with the same spelling, or an object that `convert` cannot convert. Names the place:
            `result.items[3].price`.
    """
    return json.dumps(_plain(value, place, MAX_DEPTH, convert), allow_nan=False)


def escaped(text: str) -> str:
    r"""Return the text with lone surrogates, which UTF-8 cannot hold, spelt out: `\ud800`."""
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def readable(text: str | None) -> str | None:
    """Return this JSON text. Lone surrogates, which an earlier version wrote, are spelt out."""
    if text is None or (r"\ud" not in text and r"\uD" not in text):
        return text

    return json.dumps(_spelt_out(json.loads(text)))


def _spelt_out(value: Any) -> Any:
    match value:
        case str():
            return escaped(value)
        case list():
            return [_spelt_out(each) for each in value]
        case dict():
            return {escaped(name): _spelt_out(each) for name, each in value.items()}
        case _:
            return value


def _plain(value: Any, place: str, levels: int, convert: Callable[[Any], Any] | None) -> Any:  # noqa: PLR0911
    if value is None or isinstance(value, bool):
        return value

    kind = type(value)

    if kind is str:
        return _text(value, place)

    if kind is int:
        if abs(value) >= _LARGEST:
            raise NotJson(f"{place} is an integer of more than {MAX_DIGITS} digits, which JSON readers cannot hold")

        return value

    if kind is float:
        if not math.isfinite(value):
            raise NotJson(f"{place} is {'NaN' if math.isnan(value) else 'infinite'}, which JSON cannot hold")

        return value

    if isinstance(value, dict | list | tuple | set | frozenset):
        if levels == 0:
            raise NotJson(f"{place} is nested too deeply: more than {MAX_DEPTH} levels")

        if isinstance(value, dict):
            return _object(value, place, levels, convert)

        return [_plain(each, f"{place}[{index}]", levels - 1, convert) for index, each in enumerate(value)]

    return _plain(_converted(value, place, convert), place, levels, None)


def _object(value: dict[Any, Any], place: str, levels: int, convert: Callable[[Any], Any] | None) -> dict[str, Any]:
    written: dict[str, Any] = {}

    for number, (key, member) in enumerate(value.items(), start=1):
        text = _key(key, place, number, convert)
        inner = f"{place}.{text}" if _PLAIN_KEY.fullmatch(text) else f"{place}[key {number}]"

        if text in written:
            raise NotJson(f"{place} has two keys that are the same in JSON, number {number} and one before it")

        written[text] = _plain(member, inner, levels - 1, convert)

    return written


def _key(key: Any, place: str, number: int, convert: Callable[[Any], Any] | None) -> str:
    inner = f"key {number} of {place}"

    if type(key) is str:
        return _text(key, inner)

    return _text(next(iter(_converted({key: None}, inner, convert, kind=type(key)))), inner)


def _text(text: str, place: str) -> str:
    if not text.isascii() and _LONE_SURROGATE.search(text):
        raise NotJson(f"{place} holds a lone surrogate, which UTF-8 cannot hold")

    return text


def _converted(value: Any, place: str, convert: Callable[[Any], Any] | None, *, kind: type[Any] | None = None) -> Any:
    name = (kind or type(value)).__qualname__

    if kind is None and isinstance(value, Awaitable):
        raise NotJson(f"{place} is of the type {name}, which must be awaited first")

    if convert is None:
        # Already converted and still not a plain type: a subclass of one, which is written as its base.
        for base in (str, int, float):
            if isinstance(value, base):
                return base(value)

        raise NotJson(f"{place} is of the type {name}, which JSON cannot hold")

    try:
        return convert(value)
    except UnicodeError:
        raise NotJson(f"{place} holds text or bytes that UTF-8 cannot hold") from None
    except (ValueError, TypeError, RecursionError):
        raise NotJson(f"{place} is of the type {name}: it, or something in it, cannot be written as JSON") from None
