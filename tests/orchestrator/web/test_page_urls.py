"""What the URL of a page may look like."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StepRefused
from orchestrator.web.page_urls import LONGEST, page_url, redirected


@pytest.mark.parametrize(
    ("text", "requested"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTPS://Example.ORG:443/A/b?c=D#e", "https://example.org/A/b?c=D"),
        ("http://example.org:80", "http://example.org/"),
        ("https://example.org:80/", "https://example.org:80/"),
        ("http://example.org?q", "http://example.org/?q"),
        ("http://example.org:/", "http://example.org/"),
        ("http://example.org./", "http://example.org/"),
        ("http://my_host.example.org:8080/", "http://my_host.example.org:8080/"),
        ("http://intranet/", "http://intranet/"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
        ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:127.0.0.1]/"),
        ("https://bücher.example/straße?q=ü&x=%20#ä", "https://xn--bcher-kva.example/stra%C3%9Fe?q=%C3%BC&x=%20"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("http://example.org/a@b:c//d;e?f=http://g/@h", "http://example.org/a@b:c//d;e?f=http://g/@h"),
        ('http://example.org/"<x>`{y}^', "http://example.org/%22%3Cx%3E%60%7By%7D%5E"),
        ("http://example.org#@127.0.0.1/../", "http://example.org/"),
        ("http://localhost/", "http://localhost/"),
        ("http://ｅｘａｍｐｌｅ.org/", "http://example.org/"),  # noqa: RUF001 - the point of it
        ("http://127。0。0。1/", "http://127.0.0.1/"),
        ("http://①②⑦.⓪.⓪.①/", "http://127.0.0.1/"),
    ],
)
def test_a_url_is_requested_in_plain_ascii(text: str, requested: str) -> None:
    assert str(page_url(text)) == requested
    assert str(page_url(requested)) == requested


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with http"),
        ("example.org", "must begin with http"),
        ("//example.org/", "must begin with http"),
        ("http:example.org", "must begin with http"),
        ("http:/example.org", "must begin with http"),
        ("http:///example.org", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("ftp://example.org/", "must begin with http"),
        ("gopher://127.0.0.1:6379/_x", "must begin with http"),
        ("javascript:alert(1)", "must begin with http"),
        ("data:text/html,x", "must begin with http"),
        ("http://user@example.org/", "without a user"),
        ("http://user:pass@example.org/", "without a user"),
        ("http://example.org:80@127.0.0.1/", "without a user"),
        ("http://[fe80::1%eth0]/", "must begin with http"),
        ("http://[fe80::1%25eth0]/", "must begin with http"),
        ("http://[::1/", "must begin with http"),
        ("http://::1/", "must begin with http"),
        ("http://[127.0.0.1]/", "no valid IPv6 address"),
        ("http://[1::2::3]/", "no valid IPv6 address"),
        ("http://example.org:0/", "has a port"),
        ("http://example.org:25/", "has a port"),
        ("http://example.org:6667/", "has a port"),
        ("http://example.org:65536/", "has a port"),
        ("http://example.org:0x50/", "must begin with http"),
        ("http://example.org:+80/", "must begin with http"),
        ("http://example.org:８０/", "must begin with http"),  # noqa: RUF001 - the point of it
        ("http://2130706433/", "no valid IPv4 address"),
        ("http://0x7f000001/", "no valid IPv4 address"),
        ("http://0x7f.0.0.1/", "no valid IPv4 address"),
        ("http://0177.0.0.1/", "no valid IPv4 address"),
        ("http://017700000001/", "no valid IPv4 address"),
        ("http://127.1/", "no valid IPv4 address"),
        ("http://127.0.1/", "no valid IPv4 address"),
        ("http://127.0.0.1.1/", "no valid IPv4 address"),
        ("http://127.0.0.0x1/", "no valid IPv4 address"),
        ("http://1.2.3.256/", "no valid IPv4 address"),
        ("http://0x/", "no valid IPv4 address"),
        ("http://a..b/", "no valid name"),
        ("http://.example.org/", "no valid name"),
        ("http://-a.example.org/", "no valid name"),
        ("http://a%2eb/", "no valid name"),
        ("http://127%2e0%2e0%2e1/", "no valid name"),
        ("http://a*b/", "no valid name"),
        (f"http://{'a' * 64}.org/", "no valid name"),
        (f"http://{'a.' * 127}org/", "no valid name"),
        ("http://exa\u00admple\u2024org\u3000/", "a space"),
        ("http://\u202eexample.org/", "a control character"),
        ("http://☃\uffff.org/", "a control character"),
        ("http://a‍b.example/", "a control character"),
        ("http://example.org/ HTTP/1.1", "a space"),
        ("http://example.org/\r\nHost: evil", "a control character"),
        ("http://example.org\r\n/", "a control character"),
        ("http://example.org\t/", "a control character"),
        (" http://example.org/", "a space"),
        ("http://example.org\\@127.0.0.1/", "a backslash"),
        ("http:\\\\127.0.0.1/", "a backslash"),
        ("http://example.org/\ud800", "a control character"),
        ("http://example.org/\0", "a control character"),
        ("http://no-such-host.invalid/", "do not resolve"),
        ("http://abc.ONION/", "do not resolve"),
        ("http://example.org/" + "a" * LONGEST, "longer than"),
    ],
)
def test_anything_else_is_refused_with_a_reason_that_does_not_quote_it(text: str, reason: str) -> None:
    with pytest.raises(StepRefused, match=reason) as refused:
        page_url(text)

    assert "\r" not in str(refused.value)
    assert "pass" not in str(refused.value).replace("password", "")


@pytest.mark.parametrize(
    ("location", "to"),
    [
        ("/b", "http://example.org:81/b"),
        ("c", "http://example.org:81/a/c"),
        ("?d", "http://example.org:81/a/?d"),
        ("//other.example/", "http://other.example/"),
        ("https://other.example/ü b", "https://other.example/%C3%BC%20b"),
        ("../../..", "http://example.org:81/"),
        ("", "http://example.org:81/a/"),
    ],
)
def test_a_redirect_may_be_relative(location: str, to: str) -> None:
    assert str(redirected(page_url("http://example.org:81/a/"), location)) == to


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "ftp://example.org/", "javascript:0", "http://u:p@example.org/", "//[::1%25lo]/"),
        *("\\\\127.0.0.1\\", "http://a\tb/", "http://[/", "http://127.1/", "/" + "a" * LONGEST),
    ],
)
def test_a_redirect_is_held_to_the_same_rules(location: str) -> None:
    with pytest.raises(StepRefused, match="redirects"):
        redirected(page_url("http://example.org/"), location)


@given(st.text(alphabet="ahtp:/@[]#?\\.%0x127 \tü。-", max_size=30))
def test_what_is_accepted_is_read_by_everybody_in_the_same_way(rest: str) -> None:
    try:
        url = page_url(f"http://{rest}")
    except StepRefused:
        return

    parts = urlsplit(str(url))

    assert str(url).isascii()
    assert (parts.hostname, parts.port or 80, parts.username) == (url.host, url.port, None)
    assert page_url(str(url)) == url
