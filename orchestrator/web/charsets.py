"""How the bytes of a page become text, as browsers do it: https://encoding.spec.whatwg.org.

The name of a charset comes from a stranger, and Python knows codecs under such names that are no charsets. So only the
charsets of the web are looked up.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

#: The charsets of the web, by Python's names for them.
_KNOWN: Final = frozenset(
    (
        *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030", "big5", "big5hkscs", "euc_jp", "iso2022_jp"),
        *("shift_jis", "euc_kr", "cp866", "cp874", "koi8-r", "koi8-u", "mac-roman", "mac-cyrillic", "cp932", "cp949"),
        *(f"cp{number}" for number in range(1250, 1259)),
        *(f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
    )
)

#: Names that mean a larger charset on the web.
_MEANT: Final = {
    "ascii": "cp1252",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
    "tis-620": "cp874",
    "utf-16": "utf-16-le",
}
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LOOKED_AT: Final = 2048
_DECLARED: Final = re.compile(
    rb"""<(?:meta|\?xml)\b[^>]{0,500}?(?:charset|encoding)\s*=\s*["']?\s*([\w:.-]{1,40})""", re.IGNORECASE
)


def decoded(content: bytes, declared: str | None, *, markup: bool) -> str:
    """Return the content as text; bytes that are none in its charset become replacement characters.

    The charset is what a byte order mark says, else what `declared` names (the header), else what the `markup` itself
    names. Where nothing names a known one, it is UTF-8 if the bytes are, and Windows-1252 if they are not.
    """
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(marked, "replace")

    found = _DECLARED.search(content[:_LOOKED_AT]) if markup else None
    charset = _charset(declared) or _in_markup(found)

    if charset is not None:
        return content.decode(charset, "replace")

    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _in_markup(found: re.Match[bytes] | None) -> str | None:
    charset = _charset(found[1].decode("ascii", "replace")) if found else None

    # The declaration could not be read if it were true.
    return "utf-8" if charset is not None and charset.startswith("utf-16") else charset


def _charset(name: str | None) -> str | None:
    if not name or not name.isascii():
        return None

    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None

    meant = _MEANT.get(known, known)

    return meant if meant in _KNOWN else None
