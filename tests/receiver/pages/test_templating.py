"""What all pages share: headers that isolate a page, and templates that escape."""

from __future__ import annotations

from receiver.pages.templating import page_headers


def test_the_headers_are_those_of_the_contract() -> None:
    assert page_headers("n0nce") == {
        "Content-Security-Policy": (
            "default-src 'none'; style-src 'nonce-n0nce'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex, nofollow",
        "X-Content-Type-Options": "nosniff",
    }
