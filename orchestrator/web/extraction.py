"""The main text of an HTML page. This file is a program of its own: HTML on its standard input, JSON on its output.

A page of a stranger goes through a parser written in C and through regular expressions, so this happens in a process
that may use little memory and little time, and that has none of our keys in its environment. It imports nothing of
ours, so that it starts fast and from anywhere.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Final

#: Bytes of address space, and seconds of the processor.
_MEMORY: Final = 1024**3
_SECONDS: Final = 30

#: What extraction found is preferred to the text of the whole page if it has at least this share of it.
_SHARE: Final = 0.05


def main_text(html: str) -> dict[str, str]:
    """Return the page's `title` and `text`, each empty if it has none.

    The text is the article's, and that of the whole page without scripts where no article is found.
    """
    import trafilatura  # noqa: PLC0415 - an extra, and slow to import

    # The library takes only whole documents.
    tree = trafilatura.load_html(html)
    tree = trafilatura.load_html(f"<html><head></head><body><div>{html}</div></body></html>") if tree is None else tree

    if tree is None:
        return {"title": "", "text": ""}

    for notice in list(tree.iter("noscript")):
        notice.drop_tree()

    title = " ".join((tree.findtext(".//title") or "").split())
    whole = str(trafilatura.html2txt(tree) or "").strip()
    found = str(trafilatura.extract(tree, include_comments=False) or "").strip()

    return {"title": title, "text": found if len(found) >= _SHARE * len(whole) and found else whole}


def _limit() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - does not exist everywhere

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit()
    logging.disable()
    result = main_text(sys.stdin.buffer.read().decode())
    sys.stdout.buffer.write(json.dumps(result).encode())
