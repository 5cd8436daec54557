"""The runner of the documents, on documents with one fault each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents.comparing import is_shown, is_shown_within
from support.documents.markdown import FENCE
from support.documents.running import NotAsWritten, Run
from support.documents.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(tmp_path, ports=(8000,), environment={}) as one:
        yield one


def run(terminal: Terminal, text: str, not_run: dict[str, str] | None = None) -> Run:
    """Do what this document says; a fence is written as three quotation marks."""
    document = terminal.home / "DOCUMENT.md"
    document.write_text(text.replace("'''", FENCE))
    one = Run(document, terminal, not_run or {})
    one.all()

    return one


def test_a_document_that_is_so_is_run_in_its_order_and_by_one_shell(terminal: Terminal) -> None:
    done = run(
        terminal,
        "'''console\n$ NAME=Ada\n$ mkdir a && cd a\n'''\n\n'''python\n# say.py\nprint('hello')\n'''\n"
        "'''console\n$ python3 say.py && \\\n    echo $NAME   # who\nhello\nAda\n'''\n",
    )

    assert done.commands == ["NAME=Ada", "mkdir a && cd a", "python3 say.py && \\\n    echo $NAME"]
    assert (terminal.work / "a/say.py").read_text() == "print('hello')\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("'''console\n$ echo no\nyes\n'''", "printed\nno"),
        ("'''console\n$ echo more\n'''", "printed\nmore"),
        ("'''console\n$ true\nsomething\n'''", "the document shows\nsomething"),
        ("'''console\n$ echo shown; exit_with() { return 3; }; exit_with\nshown\n'''", "ended with 3"),
        ("'''console\n$ no-such-command\n'''", "ended with 127"),
        ("'''console\nno command\n'''", "must begin with a command"),
        ("'''python\nprint('of no file')\n'''", "there is no way to run this python block"),
        ("'''text\nfigures\n'''", "there is no way to run this text block"),
        ("'''sh\n# /etc/passwd\nx\n'''", "there is no way to run this sh block"),
        ("'''python\n# unused.py\nprint()\n'''", "no later command uses it"),
        ("'''ini\n# scripts/deploy/countersign-worker@.service\nRestart=never\n'''", "no excerpt of"),
    ],
)
def test_a_fault_is_told_with_the_document_s_line(terminal: Terminal, text: str, why: str) -> None:
    with pytest.raises(NotAsWritten, match=re.escape(why)):
        run(terminal, text)


def test_what_is_left_out_has_a_reason_and_a_reason_has_something_left_out(terminal: Terminal) -> None:
    text = "'''console\n$ sudo reboot\n$ echo here\nhere\n'''"

    assert run(terminal, text, {"sudo reboot": "needs root"}).left_out == {"sudo reboot": "needs root"}

    with pytest.raises(NotAsWritten, match="sudo halt"):
        run(terminal, text, {"sudo reboot": "needs root", "sudo halt": "needs root"})


def test_an_excerpt_of_a_file_may_leave_lines_out_and_no_more(terminal: Terminal) -> None:
    run(terminal, "'''ini\n# scripts/deploy/countersign-worker@.service\nUser=countersign\n...\nRestart=always\n'''")


def test_a_port_of_the_document_is_a_free_one_when_it_is_typed(terminal: Terminal) -> None:
    done = terminal.run("echo 127.0.0.1:8000 18000 8000s; test 8000 -ne 80''00")

    assert (done.printed, done.code) == ("127.0.0.1:8000 18000 8000s\n", 0)


def test_what_runs_in_the_background_ends_with_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    with Terminal(tmp_path / "there", ports=(), environment={}) as one:
        pid = one.run("sleep 600 & echo $!").printed.strip()
        assert Path(f"/proc/{pid}").exists()

    assert not Path(f"/proc/{pid}").exists()


def test_dots_stand_for_any_text_or_any_lines_and_times_match_each_other() -> None:
    assert is_shown("a...d\n...\nz", "abcd\n1\n2\nz\n")
    assert is_shown("at 2026-01-01T00:00:00Z in 13 s", "at 2026-11-26T06:00:00.123Z in 58.2 s\n")
    assert not is_shown("a\nz", "a\nb\nz\n")
    assert not is_shown("200 OK", "201 OK\n")
    assert not is_shown("", "x\n")
    assert is_shown_within("b\nc", "a\nb\nc\nd\n")
    assert not is_shown_within("b\nd", "a\nb\nc\nd\n")
