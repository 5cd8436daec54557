"""What a signed delivery says: its document, its identity, and its token, which is removed before the body is stored.

The caller passes only bytes with a valid signature. How they are parsed depends on the bytes, never on an unsigned
header.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from receiver.http.bodies import JsonBody, read_json
from receiver.http.problems import Problem
from receiver.senders.expressions import Misfit

if TYPE_CHECKING:
    from receiver.senders.expressions import Expression
    from receiver.senders.schemes.scheme import Signed
    from receiver.senders.sources import Source

logger = logging.getLogger(__name__)

#: What replaces the token in a stored body.
CUT: Final = "[token]"

#: The start of a delivery that GitHub, or a similar sender, sends as a form because it is not set to JSON.
_FORM: Final = b"payload="
_NO_FORMS: Final = "choose application/json as the content type where the webhook is set up, not a form"

_MOST_FIELDS: Final = 100
_LONGEST_IDENTITY: Final = 1024
_RUN_ID: Final = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)

# The quantifiers are possessive, so that the scan is linear on any text.
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One signed delivery of a source.

    `text` and `value` are its document, as JSON text and as JSON value. `key` is the digest of its identity, 64 hex
    digits; a repeated delivery has the same key. `binding` is the digest of what must not settle two waits: of the
    identity if the sender gives one, otherwise of everything that is signed.
    """

    source: Source
    text: str
    value: Any
    key: str
    binding: str

    @property
    def ikey(self) -> str:
        """The idempotency key with which it settles a wait."""
        return f"webhook:{self.source.name}:{self.key}"

    @property
    def workflow_id(self) -> str:
        """The id of the workflow that it starts."""
        return f"{self.source.name}-{self.key[:32]}"

    @property
    def wanted(self) -> bool:
        """Whether its event is one of those that the source lists; always true for a source without events."""
        if self.source.event is None:
            return True

        event = _found(self.source.event, self.value)

        return isinstance(event, str) and event in self.source.events

    @property
    def challenge(self) -> str | None:
        """The text that Slack expects back when the address is set up; None in an ordinary delivery."""
        match self.value:
            case {"type": "url_verification", "challenge": str(text)} if self.source.kind == "slack":
                return text
            case _:
                return None

    def token(self) -> str:
        """Return the token in the signed body.

        Raises:
            Problem: `bad-token`: there is none where the source's settings expect it.
        """
        found = None if self.source.token is None else _found(self.source.token, self.value)

        if not isinstance(found, str):
            raise Problem("bad-token", "The delivery has no token where this source's settings expect it.")

        return found

    def run_id(self) -> int:
        """Return the id of the Databricks run that it is about.

        Raises:
            Problem: `malformed-body`: it names no run.
        """
        text = _identity_of(self.source.identity, self.value)

        if _RUN_ID.fullmatch(text) is None:
            raise Problem("malformed-body", "This notification names no run.")

        return int(text)

    async def input(self) -> JsonBody:
        """Return the input of the workflow that it starts.

        Raises:
            Problem: `malformed-body`: the expression's result is not strict JSON, for example because a sum of two very
                large numbers is infinite or the nesting is too deep.
        """
        if self.source.input is None:
            return JsonBody(text=self.text, value=self.value)

        try:
            text = json.dumps(_found(self.source.input, self.value), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise _unfit() from None  # the original quotes the value

        return await _strict(text, "The input that this source's settings extract from the body is not strict JSON.")

    async def body_without(self, token: str) -> str:
        """Return its document as it is stored: as JSON text, with `[token]` in place of each occurrence of the token.

        Raises:
            Problem: `malformed-body`: without the token it is not strict JSON, because two keys become equal.
                `bad-token`: the source's expression puts the token together from parts of the body, so it cannot be
                removed.
        """
        text = without_token(self.text, token)

        if text != self.text:
            return (await _strict(text, "Without the token, the body repeats a key.")).text

        if self.source.token is not None:
            raise Problem("bad-token", "One string of the body must contain the whole token.")

        return text


async def read_delivery(source: Source, data: bytes, signed: Signed) -> Delivery:
    """Return the delivery that these signed bytes are.

    Raises:
        Problem: `malformed-body`: they are not strict JSON in UTF-8 (or, from Slack, a form), or the identity that the
            source's settings expect is missing.
    """
    if source.kind == "slack" and not data.lstrip().startswith(b"{"):
        body = await _read_form(data)
    elif data.startswith(_FORM):
        logger.warning("a delivery to the source %s is a form: %s", source.name, _NO_FORMS)
        raise Problem("malformed-body", f"The body is a form: {_NO_FORMS}.")
    else:
        body = await read_json(data)

    identity = signed.identity

    if source.identity is not None:
        identity = _identity_of(source.identity, body.value).encode()

    key = _digest(identity or _digest(data).encode())

    return Delivery(
        source=source,
        text=body.text,
        value=body.value,
        key=key,
        binding=key if identity else _digest(b"%b.%b" % (signed.moment, data)),
    )


def without_token(text: str, token: str) -> str:
    """Return this JSON text with the token replaced in every string, however it is escaped; unchanged if it has none.

    Keys are strings too, so the returned text may repeat a key.
    """

    def cut(match: re.Match[str]) -> str:
        literal = match[0]

        if token not in literal and "\\" not in literal:
            return literal

        held = json.loads(literal)

        return json.dumps(held.replace(token, CUT), ensure_ascii=False) if token in held else literal

    return _STRING.sub(cut, text)


async def _read_form(data: bytes) -> JsonBody:
    """Return the content of a form from Slack: the JSON in its only field `payload`, or an object of its fields."""
    try:
        pairs = parse_qsl(
            data.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise Problem("malformed-body", "The body is neither JSON nor a form.") from None

    fields = dict(pairs)

    if not fields or len(fields) != len(pairs):
        raise Problem("malformed-body", "The form is empty or repeats a field.")

    if fields.keys() == {"payload"}:
        return await read_json(fields["payload"].encode())

    return JsonBody(text=json.dumps(fields), value=fields)


def _found(expression: Expression, value: object) -> Any:
    try:
        return expression.find(value)
    except Misfit:
        raise _unfit() from None


def _identity_of(expression: Expression | None, value: object) -> str:
    found = None if expression is None else _found(expression, value)

    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)

    if not isinstance(found, str) or not 1 <= len(found) <= _LONGEST_IDENTITY:
        raise Problem("malformed-body", "The delivery has no identity where this source's settings expect it.")

    return found


async def _strict(text: str, refusal: str) -> JsonBody:
    """Parse this text as strict JSON, because it is stored and later readers rely on that, or refuse it."""
    try:
        return await read_json(text.encode())
    except Problem:
        raise Problem("malformed-body", refusal) from None


def _unfit() -> Problem:
    return Problem("malformed-body", "The body does not have the structure that this source's settings expect.")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
