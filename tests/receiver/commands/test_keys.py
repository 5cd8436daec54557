from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.config.environment import read_file
from orchestrator.config.settings import load_settings
from receiver.commands import keys

ROOT = Path(__file__).parents[3]


def test_what_is_printed_is_accepted_as_an_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(keys.env_file())
    loaded = load_settings({"COUNTERSIGN_PUBLIC_URL": "http://localhost:8000"}, tmp_path)

    assert len(loaded.signing_keys) == len(loaded.payload_keys) == 1
    assert list(loaded.api_keys) == ["operator"]


def test_the_second_factor_is_off_until_its_line_is_no_comment_any_more(tmp_path: Path) -> None:
    text = keys.env_file()
    (tmp_path / ".env").write_text(text)
    environ = {"COUNTERSIGN_PUBLIC_URL": "http://localhost:8000"}
    assert load_settings(environ, tmp_path).caller_secrets == ()

    (tmp_path / ".env").write_text(text.replace("# COUNTERSIGN_CALLER_SECRETS", "COUNTERSIGN_CALLER_SECRETS"))
    assert len(load_settings(environ, tmp_path).caller_secrets) == 1


def test_the_api_key_is_printed_with_its_digest(tmp_path: Path) -> None:
    text = keys.env_file()
    (tmp_path / ".env").write_text(text)
    found = re.search(r"^# Authorization: Bearer (\S+)$", text, re.MULTILINE)

    assert found is not None
    assert read_file(tmp_path / ".env")["COUNTERSIGN_API_KEYS"] == (
        f"operator:{hashlib.sha256(found[1].encode()).hexdigest()}"
    )


def test_no_value_is_printed_twice() -> None:
    values = [re.findall(r"[A-Za-z0-9_/+-]{43,}", keys.env_file()) for _ in range(5)]

    assert len({value for found in values for value in found}) == sum(map(len, values)) == 25


@pytest.mark.slow
def test_the_program_prints_an_env_file_wherever_it_is_started(tmp_path: Path) -> None:
    result = subprocess.run([ROOT / "scripts/keys"], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert not result.stderr
    assert "COUNTERSIGN_SIGNING_KEYS=" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_file_is_its_owner_s_alone_from_its_first_byte_and_never_overwritten(tmp_path: Path) -> None:
    program = f"umask 000; exec {ROOT}/scripts/keys --write .env"
    first = subprocess.run(["/bin/sh", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    written = (tmp_path / ".env").read_text()
    again = subprocess.run(["/bin/sh", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (first.stdout, first.stderr) == ("", "")
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert "COUNTERSIGN_SIGNING_KEYS" in read_file(tmp_path / ".env")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.count("\n") == 1
    assert (tmp_path / ".env").read_text() == written
