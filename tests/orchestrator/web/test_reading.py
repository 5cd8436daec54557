"""What a response says as a text, and what is refused."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import anyio
import pytest
from support.plant import PATIENCE, pause

from orchestrator.errors import StepRefused
from orchestrator.web import reading
from orchestrator.web.reading import Reading, extracted, read


async def upper(html: str) -> dict[str, str]:
    return {"title": " A\ttitle ", "text": f"\n{html.upper()} "}


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (b"plain", "text/plain", "plain"),
        (b"plain", 'Text/Plain ; Charset="utf-8"', "plain"),
        ("Łódź".encode("iso8859-2"), "text/plain; charset=iso-8859-2", "Łódź"),
        ("Łódź".encode("iso8859-2"), "text/plain; a=b; charset='iso-8859-2'", "Łódź"),
        (b"# Title\r\n\r\ntext\r", "text/markdown", "# Title\n\ntext"),
        (b"<p>markup</p>", "text/plain", "<p>markup</p>"),
        (b"<p>a</p>", "text/html", "<P>A</P>"),
        (b"<p>a</p>", "application/xhtml+xml; charset=utf-8", "<P>A</P>"),
        (b" \n<!doctype html><p>a</p>", "", "<!DOCTYPE HTML><P>A</P>"),
        (b"no type", "", "no type"),
    ],
)
async def test_html_and_plain_text_are_read(content: bytes, kind: str, text: str) -> None:
    assert (await read(content, kind, upper)).text == text


async def test_a_title_is_one_line_and_bounded() -> None:
    assert (await read(b"<p>", "text/html", upper)).title == "A title"
    assert (await read(b"x", "text/plain", upper)).title == ""

    async def long(_: str) -> dict[str, str]:
        return {"title": "t\u202e" * 10_000, "text": "x"}

    title = (await read(b"<p>", "text/html", long)).title

    assert len(title) <= 300
    assert "\u202e" not in title


@pytest.mark.parametrize(
    "kind",
    [
        *("application/pdf", "image/png", "application/json", "application/octet-stream", "video/mp4", "text/css"),
        *("application/xml", "multipart/form-data", "text/html,text/plain", "x" * 1000),
    ],
)
async def test_anything_else_is_refused_by_its_kind(kind: str) -> None:
    with pytest.raises(StepRefused, match="only HTML and plain text") as refused:
        await read(b"x", kind, upper)

    assert kind[:20] in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("content", [b"%PDF-1.7\n...", b"\x89PNG\r\n\x1a\n\0\0", b"PK\x03\x04\0\0", b"a\0b"])
@pytest.mark.parametrize("kind", ["text/html", "text/plain", ""])
async def test_what_only_says_that_it_is_text_is_refused(content: bytes, kind: str) -> None:
    with pytest.raises(StepRefused, match="says that it is text"):
        await read(content, kind, upper)


@pytest.mark.parametrize(("content", "kind"), [(b"", "text/html"), (b" \n", "text/plain"), (b"", "")])
async def test_a_page_without_text_is_refused_and_the_reason_says_why_that_may_be(content: bytes, kind: str) -> None:
    with pytest.raises(StepRefused, match="scripts are not run"):
        await read(content, kind, upper)


async def test_without_the_extra_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_EXTRA", "no_such_library")

    with pytest.raises(StepRefused, match=r"pip install 'countersign\[web\]'"):
        await read(b"<p>a</p>", "text/html")

    assert await read(b"a", "text/plain") == Reading(title="", text="a")


@pytest.mark.slow
async def test_html_is_read_in_another_process_that_has_none_of_our_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COUNTERSIGN_SIGNING_KEYS", "a key")
    monkeypatch.chdir(tmp_path)
    assert (await read(b"<title>T</title><p>\xc3\xbc", "text/html")) == Reading(title="T", text="ü")

    spy = tmp_path / "spy.py"
    spy.write_text(
        "import json, os, sys\nsys.stdin.read()\nprint(json.dumps({'title': str(dict(os.environ)), 'text': 'x'}))"
    )
    monkeypatch.setattr(reading, "_PROGRAM", spy)

    assert "COUNTERSIGN" in str(os.environ)
    assert "COUNTERSIGN" not in (await extracted("x"))["title"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "raise MemoryError",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
        "import sys; sys.exit(3)",
    ],
)
async def test_a_page_that_kills_its_process_is_refused(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(reading, "_PROGRAM", tmp_path / "program.py")

    with pytest.raises(StepRefused, match="too complicated"):
        await extracted("x" * 1_000_000)


@pytest.mark.slow
async def test_a_process_that_goes_on_is_killed_when_its_text_is_wanted_no_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program, begun = tmp_path / "program.py", tmp_path / "begun"
    place = repr(str(begun))
    program.write_text(
        "import os, pathlib, sys, time\nsys.stdin.read()\n"
        f"pathlib.Path({place}).write_text(str(os.getpid()))\ntime.sleep(600)"
    )
    monkeypatch.setattr(reading, "_PROGRAM", program)
    reads = asyncio.create_task(extracted("x"))

    with anyio.fail_after(PATIENCE):
        while not (begun.exists() and begun.read_text()):
            await pause(0.01)

        reads.cancel()

        with pytest.raises(asyncio.CancelledError):
            await reads

    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits there")
async def test_the_limits_of_the_process_are_set_before_it_reads_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = reading._PROGRAM.read_text().replace("_MEMORY: Final = 1024**3", "_MEMORY: Final = 40 * 1024**2")
    (tmp_path / "program.py").write_text(source)
    monkeypatch.setattr(reading, "_PROGRAM", tmp_path / "program.py")

    with pytest.raises(StepRefused, match="too complicated"):
        await extracted("<p>x</p>")
