"""Ids in the order of their times, whatever is added and removed, and in whichever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.embedded.memory.timeline import BLOCK, Timeline

entries = st.tuples(st.integers(0, 20), st.sampled_from("abcdef"))


@given(st.lists(st.tuples(st.booleans(), entries)), entries)
def test_it_has_what_a_sorted_set_has(steps: list[tuple[bool, tuple[int, str]]], place: tuple[int, str]) -> None:
    line, known = Timeline(), set()

    for adds, entry in steps:
        if not adds:
            line.remove(*entry)
            known.discard(entry)
        elif entry not in known:
            line.add(*entry)
            known.add(entry)

    assert list(line.after(None)) == sorted(known)
    assert list(line.before(None)) == sorted(known, reverse=True)
    assert list(line.after(place)) == sorted(each for each in known if each > place)
    assert list(line.before(place)) == sorted((each for each in known if each < place), reverse=True)
    assert len(line) == len(known)
    assert line.first() == min(known, default=None)


def test_it_stays_sorted_over_many_lists() -> None:
    line = Timeline()
    count = 5 * BLOCK
    # Every seventh id comes late, as those do that are loaded from a file.
    late = [at for at in range(count) if at % 7 == 0]

    for at in [at for at in range(count) if at % 7] + late[::-1]:
        line.add(at, "x")

    assert [at for at, _ in line.after(None)] == list(range(count))

    for at in range(0, count, 2):
        line.remove(at, "x")

    assert [at for at, _ in line.before((count // 2, ""))] == list(range(count // 2 - 1, 0, -2))
    assert len(line) == count // 2
