"""How the bytes of a page become text."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.charsets import decoded

TEXT = "Grüße, Łódź, Привет, 日本語"


@pytest.mark.parametrize(
    ("text", "charset", "declared"),
    [
        (TEXT, "utf-8", "utf-8"),
        (TEXT, "utf-8", "UTF8"),
        (TEXT, "utf-8", None),
        ("Grüße “”", "cp1252", "iso-8859-1"),
        ("Grüße “”", "cp1252", "us-ascii"),
        ("Grüße “”", "cp1252", None),
        ("Łódź", "iso8859-2", "ISO-8859-2"),
        ("Привет", "koi8-r", "koi8-r"),
        ("Привет", "cp1251", "windows-1251"),
        ("日本語", "cp932", "Shift_JIS"),
        ("日本語", "euc_jp", "euc-jp"),
        ("日本語", "iso2022_jp", "iso-2022-jp"),
        ("한국어", "cp949", "euc-kr"),
        ("汉语", "gb18030", "gb2312"),
        ("漢語", "big5", "big5"),
        (TEXT, "utf-16-le", "utf-16"),
        (TEXT, "utf-16-be", "utf-16be"),
    ],
)
def test_a_page_is_decoded_as_its_header_says(text: str, charset: str, declared: str | None) -> None:
    assert decoded(text.encode(charset), declared, markup=True) == text


@pytest.mark.parametrize(
    "markup",
    [
        '<html><head><meta charset="iso-8859-2"><title>Łódź</title>',
        "<META http-equiv=Content-Type content='text/html; charset=iso-8859-2'>Łódź",
        '<?xml version="1.0" encoding="iso-8859-2"?><html>Łódź',
    ],
)
def test_without_a_header_it_is_decoded_as_its_markup_says(markup: str) -> None:
    content = markup.encode("iso8859-2")

    assert decoded(content, None, markup=True) == markup
    assert decoded(content, "no-such-charset", markup=True) == markup
    assert decoded(content, None, markup=False) == content.decode("cp1252", "replace")
    assert decoded(markup.encode(), "utf-8", markup=True) == markup


def test_markup_that_can_be_read_is_not_in_utf_16_whatever_it_says() -> None:
    assert decoded('<meta charset="utf-16">Grüße'.encode(), None, markup=True).endswith("Grüße")


@pytest.mark.parametrize(
    ("mark", "charset"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_a_byte_order_mark_comes_before_everything_that_is_said(mark: bytes, charset: str) -> None:
    assert decoded(mark + TEXT.encode(charset), "iso-8859-2", markup=True) == TEXT


@pytest.mark.parametrize(
    "name",
    [
        *("rot13", "base64", "hex", "zip", "bz2", "uu", "unicode_escape", "raw_unicode_escape", "idna", "punycode"),
        *("utf-7", "utf-8-sig", "utf-32", "undefined", "mbcs", "oem", "cp037", "ebcdic", "", " ", "a" * 10_000),
        *("\0", "utf\u20118", "../../etc/passwd", "encodings.utf_8"),
    ],
)
def test_what_is_no_charset_of_the_web_is_passed_over(name: str) -> None:
    assert decoded(b"+AGE- \\x41 caf\xc3\xa9", name, markup=False) == "+AGE- \\x41 café"


@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "utf-16", "gbk", "iso-2022-jp", "koi8-r", "big5"]))
def test_any_bytes_become_text_that_utf_8_can_carry(content: bytes, declared: str | None) -> None:
    decoded(content, declared, markup=True).encode()
