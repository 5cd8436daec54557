from __future__ import annotations

import copy
import pickle

import pytest

from orchestrator.config.secret import Secret


def test_it_gives_back_what_it_was_given() -> None:
    assert Secret(b"\x00\xff").reveal() == b"\x00\xff"
    assert Secret("pässword").reveal() == "pässword".encode()
    assert Secret("pässword").text() == "pässword"


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, "{!s}".format, lambda secret: f"{[secret]}"])
def test_no_way_of_printing_shows_it(show: object) -> None:
    assert callable(show)
    assert "hunter2" not in show(Secret("hunter2"))


def test_an_exception_that_holds_it_does_not_show_it() -> None:
    assert "hunter2" not in repr(ValueError(Secret("hunter2")))


def test_it_has_no_attributes_to_be_dumped() -> None:
    assert not hasattr(Secret("hunter2"), "__dict__")


def test_equal_secrets_are_equal_and_hash_alike() -> None:
    assert Secret("a") == Secret(b"a")
    assert hash(Secret("a")) == hash(Secret(b"a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != Secret("aa")


def test_it_equals_nothing_but_a_secret() -> None:
    assert Secret("a") != "a"
    assert Secret("a") != b"a"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("a"), protocol)


def test_it_is_not_copied_either() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.deepcopy(Secret("a"))
