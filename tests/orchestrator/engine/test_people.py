"""Digests of people: the same for every spelling of an address, different under another key, found under an old key."""

from __future__ import annotations

import hashlib

from orchestrator.config.secret import Secret
from orchestrator.engine.people import PeopleDigests

OLD, NEW = Secret(b"o" * 32), Secret(b"n" * 32)


def test_a_person_is_found_whatever_the_case_of_their_address() -> None:
    digests = PeopleDigests([NEW])

    assert digests.of("Ada@Example.org") == {digests.tag(["ada@example.org"])}


def test_a_person_is_found_under_every_key_and_noted_under_the_newest() -> None:
    before, after = PeopleDigests([OLD]), PeopleDigests([OLD, NEW])

    assert before.of("ada@example.org") | PeopleDigests([NEW]).of("ada@example.org") == after.of("ada@example.org")
    assert after.tag(["ada@example.org"]) == PeopleDigests([NEW]).tag(["ada@example.org"])
    assert not before.of("ada@example.org") & PeopleDigests([NEW]).of("ada@example.org")


def test_without_the_key_an_address_cannot_be_tried() -> None:
    plain = hashlib.sha256(b"ada@example.org").hexdigest()[:16]

    assert PeopleDigests([NEW]).of("ada@example.org").isdisjoint({plain, *PeopleDigests().of("ada@example.org")})


def test_each_person_of_a_wait_has_a_digest() -> None:
    digests = PeopleDigests()

    assert digests.tag(["a@x.org", "b@x.org"]).split() == [digests.tag(["a@x.org"]), digests.tag(["b@x.org"])]


def test_text_that_cannot_be_encoded_is_nobody() -> None:
    assert len(PeopleDigests().of("\ud800")) == 1
