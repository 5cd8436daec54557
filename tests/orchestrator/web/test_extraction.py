"""The main text of HTML, as the program of its own finds it."""

from __future__ import annotations

import pytest

from orchestrator.web.extraction import main_text

PARAGRAPH = "Bees tell each other where flowers are by a dance whose angle stands for the direction of the sun. "
ARTICLE = f"""<!doctype html><html><head><title>The  dance
of bees</title><style>p {{ color: red }}</style><script>var hidden = 1</script></head><body>
<nav><a href="/">Home</a> <a href="/shop">Shop</a></nav><article><h1>The dance</h1><p>{PARAGRAPH * 5}</p>
<p>{PARAGRAPH * 3}The end.</p></article><footer>Imprint, cookies and 200 other links</footer></body></html>"""


def test_the_article_is_found_without_what_is_around_it() -> None:
    found = main_text(ARTICLE)

    assert found["title"] == "The dance of bees"
    assert found["text"].count("Bees tell each other") == 8
    assert found["text"].endswith("The end.")
    assert not any(each in found["text"] for each in ("hidden", "color", "Shop", "Imprint"))


@pytest.mark.parametrize(
    "html",
    [
        *("<html><body><p>Grüße</p></body></html>", "<p>Grüße", "Grüße", "<div>Grüße</div>", "<b>Grüße</b>"),
        '<?xml version="1.0" encoding="iso-8859-2"?><html><body>Grüße</body></html>',
        '<html><head><meta charset="utf-16"></head><body><p>Grüße</p></body></html>',
        "<html><body><script>x()</script>Grüße<noscript>Enable scripts</noscript></body></html>",
    ],
)
def test_a_short_page_has_its_whole_text(html: str) -> None:
    assert main_text(html)["text"] == "Grüße"


@pytest.mark.parametrize(
    "html",
    [
        *("", " ", "<html></html>", "<html><body></body></html>", "<!-- a comment -->", "<script>x()</script>"),
        "<html><body><div id=root></div><script src=app.js></script></body></html>",
        "<html><body><noscript>You need to enable JavaScript.</noscript><div id=root></div></body></html>",
        "<html><head><title>App</title><style>p{}</style></head><body></body></html>",
    ],
)
def test_a_page_that_a_script_would_fill_has_no_text(html: str) -> None:
    assert main_text(html)["text"].strip() == ""


@pytest.mark.parametrize(
    "html",
    ["<div>" * 50_000 + "deep", "<a href=x>" * 5000 + "x", "<table><tr><td>" * 2000, "&#x110000;&#0;<p>x", "<" * 9999],
)
def test_markup_that_is_none_does_no_harm(html: str) -> None:
    main_text(html)["text"].encode()
