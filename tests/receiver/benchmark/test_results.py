from __future__ import annotations

from pathlib import Path

import pytest

from receiver.benchmark.results import NotResults, Results


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = Results(sizes=[1, 2], memory=3, postgres=4, machine="small", missing={"a": "b"}, versions={"c": "1"})
    results.take("bare", 1.5, None, 2.5)
    results.take("memory", None)
    results.write(tmp_path / "file")

    assert Results.read(tmp_path / "file") == results
    assert results.samples == {"bare": [1.5, 2.5]}


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": 0}', '{"format": 1, "sizes": []}', "\x00"])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)

    with pytest.raises(NotResults, match="file"):
        Results.read(tmp_path / "file")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotResults, match="No such file"):
        Results.read(tmp_path / "none")


def test_nothing_is_said_of_what_was_not_measured() -> None:
    results = Results(sizes=[1], memory=1, postgres=1)

    assert (results.median("a"), results.range("a"), results.quantile("a", 0.5)) == (None, None, None)
    assert results.ratios("a", "b") == []


def test_samples_of_the_same_repetition_are_compared() -> None:
    results = Results(sizes=[1], memory=1, postgres=1, samples={"a": [2.0, 9.0, 8.0], "b": [1.0, 3.0]})

    assert results.ratios("a", "b") == [2.0, 3.0]
