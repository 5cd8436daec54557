"""The name of a worker group, as a step has it and as a setting may be typed."""

from __future__ import annotations

import pytest

from orchestrator.config.groups import DEFAULT_GROUP, is_group_name
from orchestrator.config.settings import group_name
from orchestrator.errors import ConfigurationError


@pytest.mark.parametrize("name", [DEFAULT_GROUP, "db", "gpu-2_a", "a" * 64])
def test_a_name_fits_into_an_address(name: str) -> None:
    assert is_group_name(name)
    assert group_name("COUNTERSIGN_GROUP", name.upper()) == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a.b", "a\n", "ä", "a" * 65])
def test_another_name_is_refused(name: str) -> None:
    assert not is_group_name(name)

    with pytest.raises(ConfigurationError, match="COUNTERSIGN_GROUP must be 1 to 64 letters"):
        group_name("COUNTERSIGN_GROUP", name)


def test_a_letter_that_only_becomes_plain_in_lower_case_is_refused() -> None:
    assert "\N{KELVIN SIGN}".lower() == "k"

    with pytest.raises(ConfigurationError):
        group_name("COUNTERSIGN_GROUP", "\N{KELVIN SIGN}")
