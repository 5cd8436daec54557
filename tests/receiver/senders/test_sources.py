"""The sources file: accepted or refused as a whole; errors name the source and the setting, and never a secret."""

from __future__ import annotations

import logging
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.configuration import settings
from support.edge import ask
from support.senders import SIGNED, senders, sources_file
from support.sources import HUB, WORKFLOWS, load, one, refused

from orchestrator.errors import ConfigurationError
from receiver.senders.sources import Sources

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings

ROOT = Path(__file__).parents[3]


def test_without_a_file_there_are_no_sources(tmp_path: Path) -> None:
    assert Sources(settings(tmp_path), WORKFLOWS, environ={}, directory=tmp_path).get("hub") is None


def test_a_file_without_a_source_has_none(tmp_path: Path) -> None:
    assert load(tmp_path, "").get("hub") is None


def test_every_scheme_can_be_named(tmp_path: Path) -> None:
    sources = Sources(settings(tmp_path, SOURCES=sources_file(tmp_path, senders())), WORKFLOWS, environ={})

    for name in (*SIGNED, "databricks"):
        assert sources.get(name) is not None

    assert [one(sources, name).scheme.timestamped for name in ("timed", "own", "stripe", "github", "databricks")] == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_the_contracts_own_example_is_taken(tmp_path: Path) -> None:
    source = one(
        load(
            tmp_path,
            """
            [sources.billing]
            scheme = "stripe"
            secrets = ["env:STRIPE"]
            token = "data.object.metadata.callback_token"
            id = "id"
            events = ["invoice.paid"]
            event = "type"
            """,
        ),
        "billing",
    )

    assert source.token is not None
    assert source.token.find({"data": {"object": {"metadata": {"callback_token": "x"}}}}) == "x"
    assert source.events == {"invoice.paid"}


def test_the_documents_own_example_is_taken(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "receiver/README.md").read_text(), re.DOTALL)
    (tmp_path / "shopify.secret").write_text(secrets.token_hex(32))
    (tmp_path / "s.toml").write_text(example)
    environ = {"BILLING_SECRET": f"whsec_{secrets.token_hex(16)}"}
    workflows: Any = {"process_order": ask}
    shop = one(Sources(settings(tmp_path, SOURCES="s.toml"), workflows, environ=environ), "shop")

    assert shop.input is not None
    lines = [{"sku": "A"}, {"sku": "B", "quantity": 2}, {"title": "C", "sku": None}]
    assert shop.input.find({"name": "#1", "line_items": lines, "email": "a@b", "more": 1}) == {
        "order_id": "#1",
        "items": ["A", "2 x B", "C"],
        "customer": "a@b",
    }


@pytest.mark.parametrize("text", ["[sources]\n" + HUB, "sources = 'hub'", "[[sources]]\n" + HUB, "[hub]\n" + HUB])
def test_settings_outside_of_a_source_s_own_table_are_named_as_that(tmp_path: Path, text: str) -> None:
    assert "something other than [sources.NAME] tables" in str(refused(tmp_path, text))


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (HUB + "\nsurprise = 1", "surprise"),
        (HUB + "\nheader = 'X'", "header"),
        (HUB + "\ntoken = 1", "token"),
        (HUB + "\ntoken = ''", "token"),
        (HUB + "\ntoken = 'a['", "token"),
        (HUB + "\nid = 'nope(a)'", "id"),
        (HUB + "\nid = 'b || length(a, b)'", "id"),
        (HUB + "\nid = '" + "(" * 5000 + "'", "id"),
        (HUB + "\nevent = 'type'", "events"),
        (HUB + "\nevents = ['a']", "events"),
        (HUB + "\nevents = []\nevent = 'type'", "events"),
        (HUB + "\nworkflow = 'nobody'", "workflow"),
        (HUB + "\nworkflow = 'ask'\ntoken = 'a'", "token"),
        (HUB + "\nworkflow = 'ask'\ninput = 'a b'", "input"),
        (HUB + "\ninput = 'a'", "input"),
        ("secrets = ['env:HUB']", "scheme"),
        ("scheme = 'nope'\nsecrets = ['env:HUB']", "scheme"),
        ("scheme = 'github'", "secrets"),
        ("scheme = 'github'\nsecrets = []", "secrets"),
        ("scheme = 'github'\nsecrets = 'env:HUB'", "secrets"),
        ("scheme = 'github'\nsecrets = [1]", "secrets"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']", "header"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']\nheader = 'a b'", "header"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']\nheader = 'X'\nhash = 'md5'", "hash"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']\nheader = 'X'\nencoding = 'rot13'", "encoding"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']\nheader = 'X'\nprefix = '\\n'", "prefix"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']\nheader = 'X'\nprefix = \"\\n\"", "prefix"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']\nheader = 'X'\ntimestamp_header = 'x'", "timestamp_header"),
        ("scheme = 'hmac'\nsecrets = ['env:HUB']\nheader = 'X'\ntimestamp_header = 'é'", "timestamp_header"),
        ("scheme = 'databricks'\nsecrets = ['env:BRICKS']\ntoken = 'a'", "token"),
        ("scheme = 'databricks'\nsecrets = ['env:BRICKS']\nworkflow = 'ask'", "workflow"),
    ],
)
def test_a_fault_names_the_variable_the_source_and_the_setting(tmp_path: Path, lines: str, named: str) -> None:
    if lines.endswith("prefix = '\\n'"):
        # A literal string: a backslash and an n, which a prefix may hold.
        assert load(tmp_path, f"[sources.hub]\n{lines}").get("hub") is not None
        return

    error = refused(tmp_path, f"[sources.hub]\n{lines}")

    assert error.variable == "COUNTERSIGN_SOURCES"
    assert "source hub" in str(error)
    assert named in error.reason


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[sources.hub",
        "[sources.a]\n[sources.a]",
        "sources = 1",
        "[sources]\nhub = 1",
        "[other]\na = 1",
        "a = 1",
        f'[sources."a b"]\n{HUB}',
        f'[sources."{"a" * 65}"]\n{HUB}',
        "a = " + "[" * 100_000,
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text).variable == "COUNTERSIGN_SOURCES"


def test_a_file_that_is_not_utf_8_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    chosen = settings_with_file(tmp_path, b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="COUNTERSIGN_SOURCES"):
        Sources(chosen, WORKFLOWS, environ={})

    (tmp_path / "s.toml").unlink()
    with pytest.raises(ConfigurationError, match="COUNTERSIGN_SOURCES"):
        Sources(chosen, WORKFLOWS, environ={})


def settings_with_file(folder: Path, content: bytes) -> Settings:
    (folder / "s.toml").write_bytes(content)
    return settings(folder, SOURCES="s.toml")


# -- reading it again ---------------------------------------------------------


def test_a_file_that_was_changed_is_in_use_after_a_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sources = load(tmp_path, f"[sources.hub]\n{HUB}")
    (tmp_path / "s.toml").write_text(f"[sources.other]\n{HUB}")

    assert sources.get("other") is None
    assert sources.reload()
    assert (sources.get("hub"), one(sources, "other").name) == (None, "other")
    assert "read again: other" in caplog.text


@pytest.mark.parametrize("text", ["nonsense", f"[sources.hub]\n{HUB}\nsurprise = 1", None])
def test_a_broken_file_keeps_the_old_one_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    sources = load(tmp_path, f"[sources.hub]\n{HUB}")
    before = one(sources)

    if text is None:
        (tmp_path / "s.toml").unlink()
    else:
        (tmp_path / "s.toml").write_text(text)

    assert not sources.reload()
    assert one(sources) is before
    (record,) = [record for record in caplog.records if record.name == "receiver.senders.sources"]
    assert record.levelno == logging.ERROR
    assert "stay as they were: COUNTERSIGN_SOURCES" in record.getMessage()
