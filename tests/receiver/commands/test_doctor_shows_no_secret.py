"""Whatever fails, and wherever a secret was put: no part of it reaches the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configuration import environment
from support.loopback import QuietHandler, loopback_server
from support.relay import Relay

from orchestrator.config.secret_fragments import Fragments
from orchestrator.databricks import sdk as databricks_sdk
from receiver.commands import doctor

#: Its characters beyond ASCII do not occur in the doctor's own texts, and € is missing in old single-byte codecs.
PLANTED = "Zwölf-Hüñte®-Ωκ-€-qxjzvk"
QUOTED = quote(PLANTED, safe="")
ODD = "öüñ®Ωκ€"


def examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], **variables: str
) -> str:
    """Run the doctor in this environment, and return everything that it wrote to both streams."""
    monkeypatch.chdir(tmp_path)

    for name, value in (environment(ENGINE_TIMEOUT="1", PAYLOAD_KEYS="off") | variables).items():
        monkeypatch.setenv(name, value)

    assert doctor.main() == 1
    written = capfd.readouterr()
    assert written.err == ""
    return written.out


def assert_nothing_of_it_in(text: str) -> None:
    assert "Traceback" not in text
    assert "codec" not in text
    assert not set(text) & set(ODD)
    assert not {"\\xf6", "\\u20ac", "%C3%B6", "%E2%82%AC"} & {text[at : at + 6] for at in range(len(text))}
    spellings = (PLANTED, QUOTED, ascii(PLANTED))
    pieces = {spelling[at : at + 4] for spelling in spellings for at in range(len(spelling) - 3)}
    assert [piece for piece in pieces if piece in text] == []


@contextlib.contextmanager
def echo() -> Iterator[str]:
    """Serve refusals that repeat the request, as JSON and as text."""

    class Handler(QuietHandler):
        def answer(self) -> None:
            said = self.headers.get("Authorization", "")
            body = f'{{"error_code": "PERMISSION_DENIED", "message": "no, {said} and {said[9:20]} may not"}}'.encode()
            self.send_response(403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - the library's names

    with loopback_server(Handler) as address:
        yield address


CLOSED = "127.0.0.1:9"
SMTP = f"smtp://ada:{QUOTED}@{CLOSED}?from=a@example.org"
SOURCE = '[sources.hub]\nscheme = "github"\nsecrets = ["{}"]\n'
PLACES: dict[str, dict[str, str]] = {
    "mail": {"COUNTERSIGN_MAIL": SMTP},
    "mail, not quoted": {"COUNTERSIGN_MAIL": SMTP.replace(QUOTED, PLANTED)},
    "mail user": {"COUNTERSIGN_MAIL": f"smtps://{QUOTED}:{QUOTED}@{CLOSED}?from=a@example.org"},
    "mail options": {"COUNTERSIGN_MAIL": f"smtps://{CLOSED}?from=a@example.org&hello={QUOTED}"},
    "postgres": {"COUNTERSIGN_ENGINE": f"postgresql://ada:{QUOTED}@{CLOSED}/x"},
    "postgres option": {"COUNTERSIGN_ENGINE": f"postgresql://ada@{CLOSED}/x?password={QUOTED}&sslpassword={QUOTED}"},
    "postgres, not quoted": {"COUNTERSIGN_ENGINE": f"postgresql://ada:{PLANTED}@{CLOSED}/x"},
    "postgres, misplaced": {"COUNTERSIGN_ENGINE": f"postgresql://ada@{CLOSED}/x?connect_timeout={QUOTED}"},
    "engine": {"COUNTERSIGN_ENGINE": f"http://{CLOSED}", "RESONATE_TOKEN": PLANTED},
    "engine, misplaced": {"COUNTERSIGN_ENGINE": f"http://ada:{PLANTED}@{CLOSED}"},
    "databricks": {"DATABRICKS_HOST": f"http://{CLOSED}", "DATABRICKS_TOKEN": PLANTED},
    "databricks host": {"DATABRICKS_HOST": f"https://ada:{PLANTED}@{CLOSED}", "DATABRICKS_TOKEN": PLANTED},
    "databricks password": {
        "DATABRICKS_HOST": f"http://{CLOSED}",
        "DATABRICKS_USERNAME": "ada",
        "DATABRICKS_PASSWORD": PLANTED,
    },
    "databricks twice": {
        "DATABRICKS_HOST": f"http://{CLOSED}",
        "DATABRICKS_TOKEN": PLANTED,
        "DATABRICKS_CLIENT_ID": "ada",
        "DATABRICKS_CLIENT_SECRET": PLANTED,
    },
    "llm": {"COUNTERSIGN_LLM": f"https://{PLANTED}@{CLOSED}"},
    "keys": {"COUNTERSIGN_SIGNING_KEYS": PLANTED},
    "api keys": {"COUNTERSIGN_API_KEYS": f"ada:{PLANTED}"},
    "payload keys": {"COUNTERSIGN_PAYLOAD_KEYS": PLANTED},
    "caller secrets": {"COUNTERSIGN_CALLER_SECRETS": f"whsec_{PLANTED}"},
    "public URL": {"COUNTERSIGN_PUBLIC_URL": f"https://ada:{PLANTED}@example.org"},
    "proxy": {"HTTP_PROXY": f"http://ada:{QUOTED}@{CLOSED}", "NO_PROXY": ""},
    "proxy, malformed": {"http_proxy": f"http:/{PLANTED}", "no_proxy": "x"},
    "source": {"COUNTERSIGN_SOURCES": "s.toml", "HUB": PLANTED[:9]},
    "source, in the clear": {"COUNTERSIGN_SOURCES": "clear.toml"},
    "source, broken": {"COUNTERSIGN_SOURCES": "broken.toml"},
    "source, missing file": {"COUNTERSIGN_SOURCES": "file.toml"},
    "workflows": {"COUNTERSIGN_WORKFLOWS": "planted_workflows"},
    "workflows, exit": {"COUNTERSIGN_WORKFLOWS": "planted_exit"},
    "trust": {"COUNTERSIGN_MAIL": SMTP, "SSL_CERT_FILE": f"/nowhere/{PLANTED}"},
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that contain the secret in a wrong place."""
    (tmp_path / "s.toml").write_text(SOURCE.format("env:HUB"))
    (tmp_path / "clear.toml").write_text(SOURCE.format(PLANTED))
    (tmp_path / "broken.toml").write_text(SOURCE.format("env:HUB") + PLANTED)
    (tmp_path / "file.toml").write_text(SOURCE.format(f"file:{PLANTED}"))
    (tmp_path / "planted_workflows.py").write_text(f"raise RuntimeError({PLANTED!r})  # {PLANTED}\n")
    (tmp_path / "planted_exit.py").write_text(f"raise SystemExit({PLANTED!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    # Otherwise the test would wait for the library's own retries.
    monkeypatch.setattr(databricks_sdk, "RETRY_TIMEOUT", 1)


@pytest.mark.parametrize("place", PLACES)
def test_nothing_of_a_secret_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    written = examined(tmp_path, monkeypatch, capfd, **PLACES[place])

    assert written.splitlines()[0].startswith("configuration ")
    assert all(line.isprintable() for line in written.splitlines())
    assert_nothing_of_it_in(written)


@pytest.mark.parametrize("variable", ["DATABRICKS_TOKEN", "RESONATE_TOKEN"])
def test_a_server_that_repeats_a_token_does_not_get_it_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], variable: str
) -> None:
    with echo() as url:
        token = PLANTED.translate({ord(character): "~" for character in "Ωκ€"})
        where = {"DATABRICKS_TOKEN": "DATABRICKS_HOST", "RESONATE_TOKEN": "COUNTERSIGN_ENGINE"}[variable]
        written = examined(tmp_path, monkeypatch, capfd, **{where: url, variable: token})

    assert "failed" in written
    assert_nothing_of_it_in(written)


def test_a_mail_server_that_repeats_a_password_does_not_get_it_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], certificate: Path
) -> None:
    with Relay().running(certificate) as port:
        mail = f"smtp://ada:{QUOTED}@localhost:{port}?from=a@example.org"
        written = examined(tmp_path, monkeypatch, capfd, COUNTERSIGN_MAIL=mail, SSL_CERT_FILE=str(certificate))

    assert "mail          failed  the mail server did not accept the user and password of COUNTERSIGN_MAIL" in written
    assert_nothing_of_it_in(written)


def test_a_token_that_cannot_be_sent_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with echo() as url:
        written = examined(tmp_path, monkeypatch, capfd, DATABRICKS_HOST=url, DATABRICKS_TOKEN=PLANTED)

    assert "Databricks    failed  a DATABRICKS_* setting holds a character that cannot be sent" in written
    assert_nothing_of_it_in(written)


def test_a_failure_while_the_configuration_is_read_is_one_line_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise OSError(PLANTED)

    monkeypatch.setattr(doctor, "load_settings", broken)
    written = examined(tmp_path, monkeypatch, capfd)

    assert written.startswith("configuration failed  unexpectedly, with OSError in line ")
    assert len(written.splitlines()) == 1
    assert_nothing_of_it_in(written)


def test_what_nobody_expected_is_told_by_its_type_and_place_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: object) -> str:
        raise LookupError(PLANTED)

    monkeypatch.setattr(doctor, "CHECKS", {"engine": broken, "mail": doctor.check_mail})
    written = examined(tmp_path, monkeypatch, capfd)

    assert "engine        failed  unexpectedly, with LookupError in line" in written
    assert written.splitlines()[-1].startswith("mail          ok")
    assert_nothing_of_it_in(written)


@given(secret=st.text(min_size=4, max_size=40), before=st.text(max_size=20), after=st.text(max_size=20), data=st.data())
def test_no_piece_of_a_secret_stays_in_a_text(secret: str, before: str, after: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(secret) - 4))
    piece = secret[at : data.draw(st.integers(at + 4, len(secret)))]
    cut = Fragments([secret]).cut_from(f"{before}{piece}{after}")

    assert piece not in cut.replace("[...]", "\0") or piece in "[...]"
    assert not {character for character in secret if not character.isascii()} & set(cut)


def test_a_text_without_a_piece_of_a_secret_stays_as_it_is() -> None:
    text = "connection to server at 127.0.0.1, port 9 failed: Connection refused"

    assert Fragments([PLANTED, "", "abc"]).cut_from(text) == text
