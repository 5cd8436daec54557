"""Asking by mail and reminding, on every engine: the same link until the question is decided, then nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.approving import ADA, BOB, Desk, code_in, desk, link_in
from support.plant import pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path, engine_url: str) -> AsyncIterator[Desk]:
    async with desk(tmp_path, engine_url) as one:
        yield one


async def test_people_are_reminded_with_the_same_link_until_it_is_decided(here: Desk) -> None:
    link = await here.ask(people=[ADA, BOB], remind_after=0.5, code=True)
    first = await here.letter(ADA)
    second, third = await here.letter(ADA, number=1), await here.letter(ADA, number=2)
    await here.letter(BOB, number=1)

    assert {link_in(letter.text) for letter in (first, second, third)} == {link}
    assert {code_in(letter.text) for letter in (first, second, third)} == {code_in(first.text)}
    assert (first.subject, second.subject) == ("Ship it?", "Reminder: Ship it?")
    names = [name for name, letter in here.letters.sent if letter.to == ADA]
    assert len(set(names)) == len(names), "a mailbox would show a reminder as the mail it reminds of"
    assert second.follows == third.follows == names[0]

    await here.post(link, code=code_in(first.text))
    await here.ended()

    # One may have been on its way when it was decided; where they go on, there are two in every such pause.
    for _ in range(10):
        sent = len(here.letters.sent)
        await pause(1.2)

        if len(here.letters.sent) == sent:
            break
    else:
        pytest.fail("people are still reminded")
