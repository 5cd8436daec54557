"""Plain text as HTML: escaped, with its lists, live links and places where long names may break."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.pages.rich_text import broken, linked, rich

if TYPE_CHECKING:
    from collections.abc import Callable

SAFE = 'rel="noopener noreferrer nofollow" referrerpolicy="no-referrer"'


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("See https://a.example/x?y=1&z=2.", "https://a.example/x?y=1&amp;z=2", "a.example"),
        ("(http://a.example/x(1))", "http://a.example/x(1)", "a.example"),
        ("<https://A.example:8443/>", "https://A.example:8443/", "a.example"),
        ("*https://a.example/x*, and so on", "https://a.example/x", "a.example"),
    ],
)
def test_a_link_is_live_and_shown_with_its_host(text: str, url: str, host: str) -> None:
    shown = str(linked(text))

    assert f'<a href="{url}" {SAFE}>' in shown
    assert f"<small>({host})</small>" in shown


@pytest.mark.parametrize(
    "text",
    [
        *("javascript:alert(1)", "data:text/html,x", "//a.example/x", "ftp://a.example/", "www.a.example", "https://"),
        *("https://bank.example@evil.example/", "https://[::1", "https://b\u00e4nk.example/"[:8], "HTTPS:/a.example"),
    ],
)
def test_nothing_else_is_a_link(text: str) -> None:
    assert "<a" not in linked(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("* a\n\u2022 b", "<ul><li>a</li><li>b</li></ul>"),
        ("3. a\n4) b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("1. a\n3. b", "<p>1. a<br>\n3. b</p>"),
        ("- 5 degrees", "<p>- 5 degrees</p>"),
        ("-5\n-6", "<p>-5<br>\n-6</p>"),
        ("a:\n- b\n- c\nd\n\n\ne", "<p>a:</p>\n<ul><li>b</li><li>c</li></ul>\n<p>d</p>\n<p>e</p>"),
        ("- <b>\n- &", "<ul><li>&lt;b&gt;</li><li>&amp;</li></ul>"),
    ],
)
def test_lists_are_lists_and_numbers_stay_what_they_are(text: str, shown: str) -> None:
    assert rich(text) == shown


def test_a_long_name_may_break_behind_its_punctuation_and_a_short_one_nowhere() -> None:
    assert broken("a_short.name@example.org") == "a_short.name@example.org"
    assert (
        broken("warehouse.sales.orders_2026_daily <i>")
        == "warehouse.<wbr>sales.<wbr>orders_<wbr>2026_<wbr>daily &lt;i&gt;"
    )


@pytest.mark.parametrize("show", [broken, linked, rich])
def test_markup_in_a_long_word_is_escaped_too(show: Callable[[str], str]) -> None:
    word = "<img/src=x.y/onerror=alert(1)>" + "z" * 40

    assert html.unescape(show(word).replace("<wbr>", "").removeprefix("<p>").removesuffix("</p>")) == word
    assert "<img" not in show(word)
    assert "<wbr>" in show(word)


@given(st.text(alphabet=st.sampled_from("ab<>&\"'\n-*1. :/@()[]https"), max_size=200))
def test_whatever_the_text_its_words_stay_and_no_markup_of_its_own_gets_through(text: str) -> None:
    shown = str(rich(text))
    tags = re.findall(r"<[^>]*>", shown)
    allowed = r"</?(p|ul|li|ol|small|a)>|<(wbr|br)>|<ol start=\"\d+\">|<a href=\"https?://[^\"<>]*\" " + SAFE + ">"

    assert all(re.fullmatch(allowed, tag, re.IGNORECASE) for tag in tags), tags
    words = html.unescape(re.sub(r"<small>.*?</small>|<[^>]*>", "", shown))
    kept = re.sub(r"[-*.)\d\s]", "", text)
    assert re.sub(r"[-*.)\d\s]", "", words) == kept
