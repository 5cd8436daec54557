"""Who may answer a wait, as its record says it: for the lists of what is open, which have no token to read it from.

A question's record has its people. The record of any other wait has a subject, if its workflow gave one. What may name
a person is in the payload, which can be encrypted; the tags have the audience and digests of the people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from orchestrator import stored_names
from orchestrator.callbacks.question import Inquiry
from orchestrator.stored_names import AUDIENCE_TAG, PEOPLE_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resonate.types import PromiseRecord

    from orchestrator.callbacks.claims import Audience
    from orchestrator.engine.people import PeopleDigests


class Answerers(msgspec.Struct, frozen=True, kw_only=True):
    """Who may answer one wait. `people` are those whom a question is put to, empty for every other wait."""

    audience: Audience
    subject: str = ""
    people: tuple[str, ...] = ()

    @property
    def is_usual(self) -> bool:
        """Whether this is a machine without a subject. A wait for one says nothing about it."""
        return self.audience == "machine" and not self.subject

    def tags(self, digests: PeopleDigests) -> Mapping[str, str]:
        """Return the tags by which the wait is found."""
        if self.is_usual:
            return {}

        named = self.people or ((self.subject,) if self.subject and self.audience == "approver" else ())

        return {AUDIENCE_TAG: self.audience} | ({PEOPLE_TAG: digests.tag(named)} if named else {})

    def stored(self, promise_id: str) -> dict[str, Any]:
        """Return the form that is stored in the param of a wait without a question, bound to that one wait."""
        return {
            "countersign": stored_names.FORMAT,
            "promise": promise_id,
            "audience": self.audience,
            "subject": self.subject,
        }

    def includes(self, person: str) -> bool:
        """Return whether this person may answer, whatever the case of their address."""
        return person.casefold() in {each.casefold() for each in (*self.people, self.subject)}

    @classmethod
    def read(cls, record: PromiseRecord) -> Self:
        """Return who may answer the wait of this record. A question's subject is the first of its people."""
        inquiry = Inquiry.read(record)

        if inquiry is not None:
            people = tuple(map(str, inquiry.people))

            return cls(audience="approver", subject=people[0] if people else "", people=people)

        match record.param.data:
            case {
                "countersign": stored_names.FORMAT,
                "promise": record.id,
                "audience": "machine" | "approver" as audience,
                "subject": str(subject),
            }:
                return cls(audience=audience, subject=subject)
            case _:
                return cls(audience="machine")
