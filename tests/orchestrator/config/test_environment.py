from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config.environment import VARIABLES, Given, read_file
from orchestrator.errors import ConfigurationError


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("COUNTERSIGN_SIGNING_KEY", "COUNTERSIGN_SIGNING_KEYS"),
        ("COUNTERSIGN_PUBLICURL", "COUNTERSIGN_PUBLIC_URL"),
        ("COUNTERSIGN_PROT", "COUNTERSIGN_PORT"),
        ("countersign_port", "COUNTERSIGN_PORT"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_one(wrong: str, right: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Given({wrong: "hunter2"})

    assert caught.value.variable == wrong
    assert right in caught.value.reason
    assert "hunter2" not in str(caught.value)


def test_a_name_near_to_nothing_is_refused_all_the_same() -> None:
    with pytest.raises(ConfigurationError, match=r"^COUNTERSIGN_1234567 is not a setting$"):
        Given({"COUNTERSIGN_1234567": "x"})


def test_a_name_with_control_characters_stays_one_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Given({"COUNTERSIGN_\n\x1b[0m" + "A" * 1000: "x"})

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_names_of_other_programs_are_accepted() -> None:
    assert "COUNTERSIGNATURE" in Given({"COUNTERSIGNATURE": "", "PATH": "\n"})


def test_what_others_read_is_handed_on_masked_and_without_empty_values() -> None:
    found = Given({"DATABRICKS_HOST": "https://a", "DATABRICKS_TOKEN": "", "OTHER": "x"}).of_others("DATABRICKS_")

    assert {name: secret.text() for name, secret in found.items()} == {"DATABRICKS_HOST": "https://a"}
    assert "https://a" not in repr(found)


def test_no_file_and_a_directory_of_that_name_give_nothing(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()

    assert read_file(tmp_path / ".env") == {}
    assert read_file(tmp_path / "directory") == {}


def test_a_file_is_taken_literally_and_knows_quotes_and_comments(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("\ufeffA=x$HOME${HOME}\n# note\nexport B='two words' # why\nC=a#b==\nD\n", encoding="utf-8")

    assert read_file(file) == {"A": "x$HOME${HOME}", "B": "two words", "C": "a#b==", "D": ""}


def test_a_line_that_is_no_setting_is_refused_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1\nB='never closed hunter2\n")

    with pytest.raises(ConfigurationError, match=r"^\.env holds no setting in line 2$"):
        read_file(file)


def test_a_variable_of_ours_is_set_once_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"OTHER=1\nOTHER=2\n{VARIABLES[0]}=memory://\n{VARIABLES[0]}=memory://\n")

    with pytest.raises(ConfigurationError, match=f"^{VARIABLES[0]} is set twice"):
        read_file(file)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"A=\xff\xfe\n")

    with pytest.raises(ConfigurationError, match=r"^\.env must be UTF-8"):
        read_file(file)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.symlink_to(file)

    with pytest.raises(ConfigurationError, match=r"^\.env cannot be read: "):
        read_file(file)
