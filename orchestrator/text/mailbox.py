"""What an e-mail address is: one grammar for settings, workflow inputs and every mail that is sent.

An address is a plain `LOCAL@DOMAIN`, and what is returned here is, byte for byte, the recipient of the envelope and the
To header. So this file refuses everything that some program on the way might read as another address: quotes, comments,
routes (`%` and `!` too), encoded words, address literals, and characters that are another spelling of a plainer one. It
does not check whether the mailbox exists.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import idna

MAX_ADDRESS: Final = 254
MAX_LOCAL: Final = 64
MAX_DOMAIN: Final = 253

# RFC 5322's dot-atom without the two characters of old mail routes; RFC 6531's letters, digits and marks beside it.
_ATOM: Final = r"[A-Za-z0-9#$&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)

# What mail programs decode wherever they find it (RFC 2047), in addresses too.
_ENCODED_WORD: Final = "=?"


def mailbox(text: str) -> str:
    """Return the address in the one form in which it is used, or raise ValueError.

    An ASCII address is returned as it is. A domain in other letters becomes its A-labels (IDNA 2008), and a local part
    in other letters is composed (NFC). Limits are in bytes of UTF-8: 64 before the @, 254 in all.
    """
    # Longer than any address can be. The checks below look at each character.
    if len(text) > MAX_ADDRESS:
        raise ValueError(f"not an e-mail address: longer than {MAX_ADDRESS} bytes")

    local, at, domain = text.rpartition("@")

    if not at:
        raise ValueError("not an e-mail address: must be LOCAL@DOMAIN")

    address = f"{_local(local)}@{domain_name(domain)}"

    if len(address.encode()) > MAX_ADDRESS:
        raise ValueError(f"not an e-mail address: longer than {MAX_ADDRESS} bytes")

    return address


def domain_name(text: str) -> str:
    """Return a host name fit for mail, in ASCII, or raise ValueError. One label is enough; IP addresses are refused."""
    labels = [_ascii_label(label) for label in text.split(".")]
    domain = ".".join(labels)

    if not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit() or len(domain) > MAX_DOMAIN:
        raise ValueError("not an e-mail address: the domain is not a host name")

    return domain


def is_domain_name(text: str) -> bool:
    """True when `domain_name` returns this text as it is."""
    try:
        return domain_name(text) == text
    except ValueError:
        return False


def _local(text: str) -> str:
    local = unicodedata.normalize("NFC", text)

    if len(local.encode(errors="replace")) > MAX_LOCAL:
        raise ValueError(f"not an e-mail address: more than {MAX_LOCAL} bytes before the @")

    if _LOCAL.fullmatch(local) is None or _ENCODED_WORD in local or not _is_plain(local):
        raise ValueError("not an e-mail address: the part before the @ is not that of a plain address")

    return local


def _is_plain(local: str) -> bool:
    """True when the characters beyond ASCII are letters, digits and marks, none of them a variant of a plainer one."""
    if local.isascii():
        return True

    wide = [character for character in local if not character.isascii()]
    compatible = unicodedata.normalize("NFKC", local) == local

    return compatible and all(unicodedata.category(one)[0] in "LMN" for one in wide) and not _begins_with_mark(local)


def _begins_with_mark(local: str) -> bool:
    return any(unicodedata.category(atom[0])[0] == "M" for atom in local.split("."))


def _ascii_label(label: str) -> str:
    if label.isascii() and not label.lower().startswith("xn--"):
        return label

    # Only ASCII letters are lowered: IDNA 2008 refuses what would have to be mapped to something else.
    lowered = "".join(one.lower() if one.isascii() else one for one in unicodedata.normalize("NFC", label))

    try:
        return idna.alabel(lowered).decode()
    except UnicodeError:
        # The library's own text quotes the label.
        raise ValueError("not an e-mail address: the domain is not a host name") from None
