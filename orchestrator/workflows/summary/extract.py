"""A summary without a model: the sentences of the page whose words occur most often in it, in the page's order.

This is H. P. Luhn's method ("The Automatic Creation of Literature Abstracts", 1958) in its simplest form. It
understands nothing, and the summary says so.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOTICE: Final = "An extract, made without a model: sentences of the page itself."
NOTHING: Final = "No model is configured, and the page holds no sentence that could be extracted."

#: How many sentences an extract has, and how many characters the longest of them.
_SENTENCES: Final = 5
_LONGEST: Final = 400

#: How much of the page is looked at, in characters.
_READ: Final = 200_000

#: Words shorter than this are mostly articles, prepositions and the like.
_SHORTEST_WORD: Final = 4

#: Where a sentence ends: behind its mark, a quote or bracket included, or at the end of a line.
_END: Final = re.compile(
    r"""(?<=[.!?\u2026])\s+|(?<=[.!?\u2026]["')\]\u201d\u2019])\s+|(?<=[\u3002\uff01\uff1f])|\n+"""
)
_WORD: Final = re.compile(r"\w{2,60}")


def extract(text: str, wishes: Sequence[str] = (), rejected: Iterable[str] = ()) -> str:
    """Return an extract of the text, with a first line that says what it is.

    Sentences that share words with the reviewer's `wishes` come first, and sentences that are in a `rejected` extract
    come last, so that another round gives another extract as long as there are sentences left.
    """
    sentences = list(dict.fromkeys(_sentences(text[:_READ])))
    used = "\n".join(rejected)
    frequent = Counter(word for sentence in sentences for word in set(_words(sentence)))
    wanted = {word for wish in wishes for word in _words(wish)}

    def weight(place: int) -> tuple[bool, int, float, int]:
        words = set(_words(sentences[place]))
        common = sum(frequent[word] - 1 for word in words) / (len(words) or 1)

        return sentences[place] not in used, len(words & wanted), common, -place

    chosen = sorted(sorted(range(len(sentences)), key=weight, reverse=True)[:_SENTENCES])

    if not chosen:
        return NOTHING

    return f"{NOTICE}\n\n" + "\n".join(sentences[place] for place in chosen)


def _sentences(text: str) -> Iterable[str]:
    for part in _END.split(text):
        sentence = " ".join(part.split())

        if 0 < len(sentence) <= _LONGEST and len(_WORD.findall(sentence)) > 1:
            yield sentence


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if len(word) >= _SHORTEST_WORD]
