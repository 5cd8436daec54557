from __future__ import annotations

from pathlib import Path

import pytest

from receiver.benchmark.__main__ import main
from receiver.benchmark.results import Results
from receiver.benchmark.soak_results import SoakResults


@pytest.fixture
def results(tmp_path: Path) -> Path:
    file = tmp_path / "results.json"
    Results(sizes=[20], memory=20, postgres=20, machine="a machine", samples={"bare": [123.0]}).write(file)
    return file


def test_table_and_picture_are_made_again_without_a_new_run(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--from", str(results), "--picture", str(tmp_path / "p.svg"), "--json", str(tmp_path / "copy.json")])

    assert code == 0
    assert "bare Starlette" in capsys.readouterr().out
    assert (tmp_path / "p.svg").read_text().startswith("<svg")
    assert (tmp_path / "copy.json").read_bytes() == results.read_bytes()


def test_the_block_of_a_document_is_replaced_and_nothing_else(results: Path, tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("# A\n\n```sh\nls\n```\n\n```text\nold\n```\n\n```text\nother\n```\n")

    assert main(["--from", str(results), "--readme", str(document)]) == 0

    text = document.read_text()
    assert text.startswith("# A\n\n```sh\nls\n```\n\n```text\n  ")
    assert text.endswith("\n```\n\n```text\nother\n```\n")
    assert ("a machine" in text, "old" in text) == (True, False)


def test_a_soak_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SoakResults(machine="a machine").write(tmp_path / "soak.json")

    assert main(["soak", "--from", str(tmp_path / "soak.json"), "--picture", str(tmp_path / "p.svg")]) == 0
    assert "too short to tell" in capsys.readouterr().out
    assert (tmp_path / "p.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--from", "none.json"], "none.json cannot be read: No such file or directory"),
        (["--json", "none/a.json"], "there is no folder for none/a.json"),
        (["soak", "--picture", "none/a.svg"], "there is no folder for none/a.svg"),
        (["--readme", "none.md"], "none.md cannot be read: No such file or directory"),
        (["--readme", "empty.md"], "empty.md has no block that begins with ```text"),
        (["--from", "empty.md"], "empty.md does not hold the results of a benchmark"),
        (["soak", "--from", "empty.md"], "empty.md does not hold the results of a soak"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_before_anything_is_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.md").touch()

    assert main(arguments) == 2
    assert capsys.readouterr().err == f"scripts/bench: {reason}\n"
