"""Root ids: every id has a root of its own, which says which workflow it is."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runs.root_ids import is_workflow_id, name_of_root, root_id_of

IDS = st.text(f"{string.ascii_letters}{string.digits}._:+@-", min_size=1, max_size=128).filter(is_workflow_id)
NAMES = st.text(f"{string.ascii_letters}{string.digits}_-", min_size=1, max_size=64)


@pytest.mark.parametrize("workflow_id", ["1", "A-b_c.9", "x" * 128, "a+b@example.org"])
def test_the_root_of_an_id_without_a_colon_is_its_plain_text(workflow_id: str) -> None:
    assert root_id_of("ask", workflow_id) == f"ask.{workflow_id}"


@given(NAMES, IDS)
def test_a_root_id_begins_no_path_and_says_which_workflow_it_is(name: str, workflow_id: str) -> None:
    root_id = root_id_of(name, workflow_id)

    assert ":" not in root_id
    assert "~" not in root_id
    assert name_of_root(root_id) == name_of_root(f"{root_id}:1.2") == (name, workflow_id)
    assert str(name_of_root(root_id)) == f"{name}.{workflow_id}"


@given(IDS, IDS)
def test_two_ids_never_share_a_root(one: str, other: str) -> None:
    assert (root_id_of("ask", one) == root_id_of("ask", other)) is (one == other)


@pytest.mark.parametrize("text", ["", ".", "..", "a;b", "a b", "a/b", "a~b", "a\n", "é", "x" * 129])
def test_what_is_stored_for_a_colon_is_in_no_id(text: str) -> None:
    assert not is_workflow_id(text)
