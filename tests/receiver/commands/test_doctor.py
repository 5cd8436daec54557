from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.chatting import KEY, MODEL, answer, chat_server, streams
from support.configuration import settings
from support.loopback import QuietHandler, loopback_server

from orchestrator.config.mail_address import NO_MAIL, mail_address
from orchestrator.config.settings import Settings
from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.run import RunGone
from orchestrator.engine import connect
from orchestrator.errors import ConfigurationError, StepRefused
from receiver.commands import doctor


class FakeDatabricks(Databricks):
    """A workspace with one fixed response."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def read(self, run_id: int) -> object:  # type: ignore[override]
        raise self._error


@contextmanager
def site(status: int) -> Iterator[str]:
    """Serve one status on every path; a 302 redirects to itself."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - the library's name
            self.send_response(status)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with loopback_server(Handler) as address:
        yield address


async def test_the_sources_file_is_read_with_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "hub.secret").write_text(secrets.token_hex(20))
    (tmp_path / "s.toml").write_text('[sources.hub]\nscheme = "github"\nsecrets = ["file:hub.secret"]\n')
    chosen = settings(tmp_path, SOURCES="s.toml")

    assert await doctor.check_sources(chosen) == "s.toml names hub"
    assert "not configured" in await doctor.check_sources(settings(tmp_path))

    (tmp_path / "hub.secret").unlink()
    with pytest.raises(ConfigurationError, match="COUNTERSIGN_SOURCES"):
        await doctor.check_sources(chosen)


async def test_an_engine_in_memory_answers(tmp_path: Path) -> None:
    assert await doctor.check_engine(settings(tmp_path)) == "memory:// answers, payloads readable"


async def test_an_engine_file_that_is_not_there_is_not_created(tmp_path: Path) -> None:
    line = await doctor.check_engine(settings(tmp_path, "sqlite:///deep/down/engine.db"))

    assert "will be created" in line
    assert list(tmp_path.iterdir()) == []


async def test_an_engine_file_below_a_file_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(doctor.CheckFailedError, match="cannot be created"):
        await doctor.check_engine(settings(tmp_path, "sqlite:///file/engine.db"))


async def test_an_engine_file_that_the_receiver_holds_is_well(tmp_path: Path) -> None:
    configured = settings(tmp_path, "sqlite:///engine.db")
    engine = await connect(configured, work=True)

    try:
        assert "the receiver is running" in await doctor.check_engine(configured)
    finally:
        await engine.stop()

    assert "answers" in await doctor.check_engine(configured)


async def test_a_server_that_is_not_there_is_a_failure_and_a_line(tmp_path: Path) -> None:
    lines: list[str] = []
    configured = settings(tmp_path, "http://127.0.0.1:9", ENGINE_TIMEOUT="0.5")

    assert not await doctor.examine(configured, lines.append)
    assert lines[0].startswith("engine        failed  ")
    assert len(lines) == len(doctor.CHECKS)
    assert all(line.isprintable() for line in lines)


async def test_without_databricks_variables_nothing_is_asked(tmp_path: Path) -> None:
    assert "not configured" in await doctor.check_databricks(settings(tmp_path))


async def test_a_workspace_that_knows_no_such_run_took_our_credentials(tmp_path: Path) -> None:
    assert "credentials" in await doctor.check_databricks(settings(tmp_path), FakeDatabricks(RunGone(1)))


async def test_a_workspace_that_refuses_us_fails(tmp_path: Path) -> None:
    with pytest.raises(StepRefused):
        await doctor.check_databricks(settings(tmp_path), FakeDatabricks(StepRefused("permission denied")))


async def test_mail_that_is_not_sent_is_said_to_be_so(tmp_path: Path) -> None:
    configured = settings(tmp_path)

    assert "console" in await doctor.check_mail(configured)
    assert "not configured" in await doctor.check_mail(replace(configured, mail=NO_MAIL))


async def test_a_mail_server_that_is_not_there_is_a_failure_without_the_password(tmp_path: Path) -> None:
    address = mail_address("X", "smtp://user:hunter2@127.0.0.1:9?from=a@example.org", public_host="x.example")
    lines: list[str] = []

    assert not await doctor.examine(replace(settings(tmp_path), mail=address), lines.append)
    assert "mail" in [line.split()[0] for line in lines if "failed" in line]
    assert "hunter2" not in "\n".join(lines)


async def test_a_model_is_asked_if_there_is_one(tmp_path: Path) -> None:
    lines: list[str] = []

    async with chat_server([streams("Yes."), answer(401)]) as server:
        configured = settings(tmp_path, LLM=server.setting)
        assert await doctor.check_model(configured) == f"{MODEL} answers"
        assert not await doctor.examine(configured, lines.append)
        assert len(server.calls) == 2

    assert "model         failed  the model's server answered 401" in lines
    assert KEY not in "\n".join(lines)


async def test_the_public_url_is_asked_below_its_path(tmp_path: Path) -> None:
    with site(200) as url:
        assert (
            await doctor.check_public_url(settings(tmp_path, PUBLIC_URL=f"{url}/sub")) == f"{url}/sub/healthz answers"
        )


@pytest.mark.parametrize("status", [302, 404, 502])
async def test_a_public_url_where_something_else_answers_fails(tmp_path: Path, status: int) -> None:
    with site(status) as url, pytest.raises(doctor.CheckFailedError, match=f"answers {status}"):
        await doctor.check_public_url(settings(tmp_path, PUBLIC_URL=url))


async def test_a_public_url_where_nothing_answers_fails(tmp_path: Path) -> None:
    with pytest.raises(doctor.CheckFailedError, match="is the receiver running"):
        await doctor.check_public_url(settings(tmp_path, PUBLIC_URL="http://127.0.0.1:9"))


@pytest.fixture
def in_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def write(url: str) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(doctor, "load_settings", lambda: settings(tmp_path, PUBLIC_URL=url))

    return write


def test_all_is_well(in_environment: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    with site(200) as url:
        in_environment(url)

        assert doctor.main() == 0

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("configuration", "engine", "sources", "workers", "Databricks", "mail", "public")
    ]


def test_one_failure_is_a_failure(in_environment: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    in_environment("http://127.0.0.1:9")

    assert doctor.main() == 1
    assert "public URL    failed" in capsys.readouterr().out


def test_a_bad_configuration_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COUNTERSIGN_PROT", "hunter2")

    assert doctor.main() == 1
    assert capsys.readouterr().out == (
        "configuration failed  COUNTERSIGN_PROT is not a setting; did you mean COUNTERSIGN_PORT?\n"
    )


def test_a_terminal_of_any_encoding_shows_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    doctor._show("sources       ok      größe.toml names hub")

    assert written.getvalue() == b"sources       ok      gr\\xf6\\xdfe.toml names hub\n"


def test_the_settings_are_what_the_checks_take() -> None:
    assert all(check.__annotations__["settings"] == Settings.__name__ for check in doctor.CHECKS.values())
