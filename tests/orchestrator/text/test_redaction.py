"""Secrets are masked in logs and in messages from other systems, and looking for them is never slow."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time

import pytest

import orchestrator
import receiver
from orchestrator.text import redaction
from orchestrator.text.redaction import LONGEST, REDACTED, cut, redact, without_echoes

DAPI = "dapi" + "0123456789abcdef" * 2
TOKEN = "eyJ2IjoxLCJwIjoicGlwZWxpbmUuMTox.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"
LINK = f"https://callbacks.example.org/callbacks/{TOKEN}"

SECRETS = {
    "our token": TOKEN,
    "bearer": "Bearer abcdef",
    "bearer in a form": "Bearer+abcdef",
    "basic": "Basic YWJjZGVm",
    "personal token": DAPI,
    "personal token of a rotation": f"{DAPI}-12",
    "personal token in capitals": DAPI.upper(),
    "personal token cut short": DAPI[:20],
    "service principal's secret": "dose" + "0123456789abcdef" * 2,
    "webhook secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "Stripe key": "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "restricted Stripe key": "rk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "GitHub token": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "fine-grained GitHub token": "github_pat_11AAAAAAA0aaaaaaaaaaaaaaaaaaaa",
    "Slack token": "xoxb-263594206564-FGqddMF8t08v8N7Oq4i57vs1",
    "password in a dict": "{'password': 'hunter2'}",
    "password in JSON": '{"password":"hunter2"}',
    "client secret": "client_secret=hunter2",
    "user of an address": "postgresql://joe:hunter2@db/x",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_masked_in_logs_and_in_messages_alike(secret: str) -> None:
    told = re.split(r"[ :+='\"]+", secret.rstrip("'\"}").removesuffix("@db/x"))[-1]

    for mask in (redact, without_echoes):
        masked = mask(f"it said {secret} and went on")

        assert told not in masked
        assert masked.startswith("it said ")
        assert masked.endswith(" and went on")


@pytest.mark.parametrize("text", ["the dapifest of 2026", "a dose of it", "mask_test", "through", "foxbox-1"])
def test_a_word_that_begins_like_a_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text
    assert without_echoes(text) == text


@pytest.mark.parametrize(
    "spelling",
    [
        LINK,
        LINK.replace(":", "%3A").replace("/", "%2F"),
        LINK.replace(":", "%253A").replace("/", "%252F"),
        LINK.replace("/", "\\/"),
        LINK.upper(),
        "x" * 50 + LINK,
    ],
)
def test_an_address_in_a_message_is_cut_out_however_it_is_spelt(spelling: str) -> None:
    assert without_echoes(f"calling {spelling} failed").endswith("[...] failed")
    assert "callbacks" not in without_echoes(f"calling {spelling} failed").lower()


def test_a_long_run_in_a_message_may_be_a_key_of_any_kind() -> None:
    run = "Xk3-_" * 8

    assert without_echoes(f"said {run} and {run[1:]}") == f"said [...] and {run[1:]}"


def test_hidden_values_are_cut_out_and_a_short_one_only_where_it_stands_alone() -> None:
    assert without_echoes('a "two words" b 7 c 17', ["two words", "7", ""]) == 'a "[...]" b [...] c 17'


def test_half_a_secret_does_not_survive_the_cut() -> None:
    for secret in (TOKEN, DAPI, "sk_live_4eC39HqLyjWDarjtT1zdp7dc"):
        for before in range(LONGEST - len(secret), LONGEST + 1):
            text = "word " * (before // 5) + " " * (before % 5) + secret + " more" * 10

            assert secret[:10] not in redact(text)
            assert secret[:10] not in without_echoes(text)


def test_half_a_hidden_value_does_not_come_up_when_what_stands_before_it_is_cut_out() -> None:
    hidden = "four little words here " * 300

    for shift in range(0, len(hidden), 97):
        assert "little" not in without_echoes(" " * shift + hidden * 10, [hidden])


def test_what_is_left_out_is_counted() -> None:
    text = "ten chars " * 10_000

    assert len(redact(text)) < LONGEST + 100
    assert redact(text).endswith(f" [{100_000 - len(cut(text))} more characters]")
    assert len(without_echoes(text)) <= LONGEST
    assert redact("x" * 100_000) == " [100000 more characters]"


def test_a_text_is_cut_first_and_only_what_is_left_is_looked_at() -> None:
    word = f"{DAPI} "

    for mask, mark in ((redact, REDACTED), (without_echoes, "[...]")):
        assert mask(word * 10_000).count(mark) == LONGEST // len(word)


PIECES = (
    *("a", "A", "0", "-", ".", "_", "/", ":", "%", "@", "=", "+", " ", "\\", "'", '"', "\n", "é"),
    *("a.", "a@", "a-", "%2f", "%253a", "://", "://a@", "eyJ", "eyJaaaaaaaa.", "bearer ", "bearer", "basic+"),
    *("whsec_", "token=", "token: ", "password= ", "secret", "dapi", "dapi0", "dose", "sk_live_", "gh", "xoxb-"),
    *("http://", "https%3a%2f%2f", "Config: ", "Env: ", '"\\', '\\"', "[{", "wait=1", "q=0.", "a=1,"),
)

#: Patterns that search anywhere in any text. The others are matched against a whole text, and the one for JSON strings
#: in `deliveries` searches a text that was already read as JSON.
SEARCHING = {"_ADDRESS", "_TOKEN", "_DEBUG_INFO", "_BRACKET_OR_STRING", "_NO_SENTENCE"}


def patterns() -> dict[str, re.Pattern[str]]:
    """Return every pattern over text that a module of the product keeps."""
    found: dict[str, re.Pattern[str]] = {f"redaction {needle}": pattern for needle, pattern in redaction._SECRETS}

    for package in (orchestrator, receiver):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                values = vars(importlib.import_module(module.name))
                found |= {
                    f"{module.name} {name}": value
                    for name, value in values.items()
                    if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
                }

    return found


def seconds_of(pattern: re.Pattern[str], text: str, *, searches: bool) -> float:
    """Return the seconds of this thread alone that a pattern takes on this text, however busy the machine is."""
    began = time.thread_time()
    pattern.fullmatch(text)

    if searches:
        pattern.sub("", text)

    return time.thread_time() - began


#: Several times what the slowest pattern takes. A quadratic pattern takes longer than this, on a fast machine too.
TOO_LONG = 0.5
LENGTH = 80_000


def test_no_pattern_takes_long_on_any_text() -> None:
    everything = patterns()
    assert len(everything) > 30

    for name, pattern in everything.items():
        searches = name.startswith("redaction ") or name.rpartition(" ")[2] in SEARCHING

        for piece in PIECES:
            text = piece * (LENGTH // len(piece)) + "\x00"
            assert seconds_of(pattern, text, searches=searches) < TOO_LONG, (name, piece)


@pytest.mark.parametrize("quadratic", ["a*b", r"[^\s]+x", r"\w+@"])
def test_a_pattern_that_takes_long_is_seen(quadratic: str) -> None:
    assert seconds_of(re.compile(quadratic), "a" * LENGTH + "\x00", searches=True) > TOO_LONG


def test_masking_takes_no_longer_for_a_longer_text() -> None:
    for piece in PIECES:
        assert len(redact(piece * 2_000_000)) < LONGEST * 12
        assert len(without_echoes(piece * 2_000_000)) < LONGEST * 6

    assert REDACTED in redact("Bearer " * 2_000_000)
