"""What people are asked: a question as a value, and the form in which it is stored in the record of its wait.

A question is cleaned and cut when it is made, so what is stored is what is shown, and the digest of what is stored is
the digest of what the person saw. A question holds nothing secret, because a mail carries all of it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import urlsplit

from orchestrator import stored_names
from orchestrator.errors import Misused
from orchestrator.text.display import one_line, paragraphs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resonate.types import PromiseRecord

    from orchestrator.callbacks.claims import Claims

type Need = Literal["any", "all"]

MAX_TITLE: Final = 200
MAX_TEXT: Final = 20_000
MAX_LABEL: Final = 100
MAX_VALUE: Final = 2000
MAX_ROWS: Final = 50
MAX_PEOPLE: Final = 50

_MAX_DECISIONS: Final = 6
_DECISION: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}", re.ASCII)
_URL: Final = re.compile(r"https?://[\x21-\x7e]{1,2000}", re.ASCII)

#: Fields that questions of an earlier release do not have.
_LATER: Final = frozenset({"reason_required", "requester"})

#: How a wait can end without a person's decision.
_RESERVED: Final = frozenset({"succeeded", "failed", "died", "expired", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question to people.

    `facts` are pairs of a label and a value, shown as a table; `links` pairs of a label and an http(s) address.
    `decisions` are the choices; the first one lets things go on. Those in `reason_required` are recorded only with a
    comment. `requester` is who wants to know, where the workflow was told; page and mail name them. With `code` the
    mail carries a short code that the page asks for, so that the link alone decides nothing.

    In texts, characters that do not print are replaced, and what is too long is cut.

    Raises:
        Misused (a ValueError): no title, too many rows, a reason required for what is no decision, decisions or
            addresses that cannot be used, or a value of another type. The message quotes none of them.
    """

    title: str
    text: str = ""
    facts: Sequence[tuple[str, str]] = ()
    links: Sequence[tuple[str, str]] = ()
    decisions: Sequence[str] = ("approve", "reject")
    code: bool = False
    reason_required: Sequence[str] = ()
    requester: str = ""

    def __post_init__(self) -> None:
        self._check_types()
        facts = tuple((one_line(label, MAX_LABEL), paragraphs(value, MAX_VALUE)) for label, value in _pairs(self.facts))
        links = tuple((one_line(label, MAX_LABEL), _usable(url)) for label, url in _pairs(self.links))
        self._set("title", one_line(self.title, MAX_TITLE))
        self._set("text", paragraphs(self.text, MAX_TEXT))
        self._set("facts", facts)
        self._set("links", links)
        self._set("decisions", tuple(self.decisions))
        self._set("requester", one_line(self.requester, MAX_LABEL * 2))

        if not self.title:
            raise Misused("a question needs a title")

        if max(len(facts), len(links)) > MAX_ROWS:
            raise Misused(f"a question has at most {MAX_ROWS} facts and as many links")

        _check_decisions(self.decisions)
        _check_reasons(self.reason_required, self.decisions)
        self._set("reason_required", tuple(one for one in self.decisions if one in self.reason_required))

    def _check_types(self) -> None:
        for name in ("title", "text", "requester"):
            if not isinstance(getattr(self, name), str):
                raise Misused(f"the {name} of a question is a text")

        if not _are_texts(self.decisions):
            raise Misused('the decisions of a question are a list of texts, such as ["approve", "reject"]')

        if not _are_texts(self.reason_required):
            decisions = ", ".join(self.decisions)
            raise Misused(f"the reason_required of a question is a list of some of its decisions: {decisions}")

    def needs_reason(self, decision: str, comment: str) -> bool:
        """Whether this decision is recorded only with a reason, and the comment holds none that can be read."""
        return decision in self.reason_required and not any(c.isprintable() and not c.isspace() for c in comment)

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored. What a question has not is left out, so that older ones keep their digest."""
        return {name: value for name, value in asdict(self).items() if value or name not in _LATER}

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """A question put to people, as it is stored in the record of the wait `promise_id`.

    With `need` "any", the first decision of anybody ends the wait; with "all", each person has a wait of their own, and
    `place` says which one of how many this is, counted from 1. It is None for a question of an earlier release.
    """

    promise_id: str
    question: Question
    people: tuple[str, ...]
    need: Need
    place: tuple[int, int] | None = None

    def stored(self) -> dict[str, Any]:
        """Return the form that is stored in the wait's param, bound to that one wait."""
        stored = {
            "countersign": stored_names.FORMAT,
            "promise": self.promise_id,
            "people": list(self.people),
            "need": self.need,
            "question": self.question.stored(),
        }

        return stored if self.place is None else {**stored, "place": list(self.place)}

    @classmethod
    def read(cls, record: PromiseRecord) -> Self | None:
        """Return what the wait of this record asks, or None if it holds no valid question for this very wait."""
        match record.param.data:
            case {
                "countersign": stored_names.FORMAT,
                "promise": record.id,
                "people": [*people],
                "need": need,
                "question": dict(fields),
                **rest,
            }:
                try:
                    question = _question(fields)
                except (LookupError, TypeError, ValueError, AttributeError):
                    return None

                place = _place(rest.get("place"))

                return cls(promise_id=record.id, question=question, people=tuple(people), need=need, place=place)
            case _:
                return None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a wait asks people, read from its record; `until` is when it ends, in milliseconds since the epoch.

    `digest` is the SHA-256 of what is stored, in hex. The links that were sent name the question by it.
    """

    promise_id: str
    inquiry: Inquiry
    digest: str
    until: int

    @property
    def question(self) -> Question:
        """The question, as it was put."""
        return self.inquiry.question

    @classmethod
    def read(cls, record: PromiseRecord) -> Self | None:
        """Return what the wait of this record asks, None as for `Inquiry.read`."""
        inquiry = Inquiry.read(record)

        if inquiry is None:
            return None

        return cls(promise_id=record.id, inquiry=inquiry, digest=digest_of(record), until=record.timeout_at)

    def matches(self, claims: Claims) -> bool:
        """Whether these claims were made for this very question, word for word."""
        claimed = (claims.digest or "").encode()

        return claims.question == self.promise_id and hmac.compare_digest(self.digest.encode(), claimed)


def _are_texts(given: object) -> bool:
    return not isinstance(given, str | bytes) and isinstance(given, Iterable) and all(isinstance(x, str) for x in given)


def _pairs(rows: Any) -> tuple[tuple[str, str], ...]:
    is_list = isinstance(rows, Iterable) and not isinstance(rows, str | Mapping)
    pairs = tuple(rows) if is_list else ()

    if not is_list or not all(isinstance(pair, list | tuple) and len(pair) == 2 and _are_texts(pair) for pair in pairs):  # noqa: PLR2004 - a pair
        raise Misused('the facts and links of a question are lists of pairs of texts, such as [("Version", "1.0")]')

    return pairs


def _place(stored: object) -> tuple[int, int] | None:
    match stored:
        case [int(number), int(of)] if 1 <= number <= of <= MAX_PEOPLE:
            return number, of
        case _:
            return None


def _question(fields: dict[str, Any]) -> Question:
    pairs = {name: tuple(tuple(pair) for pair in fields[name]) for name in ("facts", "links")}

    return Question(**(fields | pairs))


def digest_of(record: PromiseRecord) -> str:
    """Return the SHA-256, in hex, of what the wait of this record asks: over JSON with sorted keys and no spaces."""
    text = json.dumps(record.param.data, sort_keys=True, separators=(",", ":"))

    return hashlib.sha256(text.encode()).hexdigest()


def _usable(url: str) -> str:
    if _URL.fullmatch(url) is None:
        raise Misused("a link of a question must be an http or https address in plain ASCII")

    parts = urlsplit(url)

    if not parts.hostname or "@" in parts.netloc:
        raise Misused("a link of a question must name a host, and no user")

    return url


def _check_reasons(reason_required: Sequence[str], decisions: Sequence[str]) -> None:
    if not set(reason_required) <= set(decisions):
        raise Misused(f"a reason can be required for these decisions only: {', '.join(decisions)}")


def _check_decisions(decisions: Sequence[str]) -> None:
    if not 1 <= len(decisions) <= _MAX_DECISIONS or len(set(decisions)) < len(decisions):
        raise Misused(f"a question has 1 to {_MAX_DECISIONS} decisions, all different")

    for decision in decisions:
        if _DECISION.fullmatch(decision) is None or decision in _RESERVED:
            raise Misused(
                "a decision is a letter, then up to 31 of A-Z a-z 0-9 _ -, "
                f"and must not be {', '.join(sorted(_RESERVED))}"
            )
