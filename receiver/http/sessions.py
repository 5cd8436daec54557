"""The console's session: a signed text in a cookie that says who signed in, with which key, and until when.

Nothing is kept here, so every replica accepts the same sessions. The signature covers the digest of the API key, so a
session ends when its key is removed or replaced, and no other key can use it. What ends it before that, a sign-out, is
recorded elsewhere.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.config.keys import Role
    from orchestrator.config.secret import Secret
    from receiver.http.auth import ApiKeys

SECONDS: Final = 12 * 3600

_SALT: Final = b"countersign.console-session.v1"
_NAME: Final = "countersign-console"

# The key's name, when the session ends in seconds since the epoch, the session's own id, the signature.
_GRAMMAR: Final = re.compile(r"([A-Za-z0-9._-]{1,64})~([1-9][0-9]{0,11})~([0-9a-f]{32})~([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Session:
    """Somebody who has signed in: the name of their key, its role as it is now, and when the session ends (seconds).

    `id` is not the secret text of the cookie, and cannot be used in its place.
    """

    name: str
    role: Role
    ends_at: int
    id: str


class Sessions:
    """Makes and reads the texts of sessions under a list of signing keys, oldest first: the last one makes, all read.

    The cookie goes to the console below `public_url` and nowhere else; on https it never travels without TLS.
    """

    def __init__(
        self,
        signing_keys: Sequence[Secret],
        api_keys: ApiKeys,
        *,
        public_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._signing: Final = tuple(hmac.digest(key.reveal(), _SALT, "sha256") for key in signing_keys)
        self._api_keys: Final = api_keys
        self._clock: Final = clock
        parts = urlsplit(public_url)
        secure = parts.scheme == "https"
        #: A browser accepts a cookie with this prefix only over TLS, so nobody on the network can plant one.
        self.cookie: Final = f"__Secure-{_NAME}" if secure else _NAME
        #: The attributes of every cookie of the console: where it goes, and that scripts and other sites cannot use it.
        self.attributes: Final = f"Path={parts.path}/console; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"

    def make(self, name: str) -> str:
        """Return the text of a new session of this API key, which must exist."""
        ends_at = str(int(self._clock()) + SECONDS)
        session_id = secrets.token_hex(16)
        signature = self._signature(self._signing[-1], name, ends_at, session_id)

        return f"{name}~{ends_at}~{session_id}~{signature}"

    def read(self, text: str) -> Session | None:
        """Return whose session this is; None if we did not make it, if it is over, or if its key is no longer there.

        Whether its holder has signed out is not known here.
        """
        parts = _GRAMMAR.fullmatch(text)

        if parts is None:
            return None

        name, ends_at, session_id, signature = parts.groups()
        key = self._api_keys.named(name)

        if key is None:
            return None

        made = [self._signature(signing, name, ends_at, session_id) for signing in self._signing]
        genuine = [hmac.compare_digest(signature, each) for each in made]

        if not any(genuine) or self._clock() >= int(ends_at):
            return None

        return Session(name=name, role=key.role, ends_at=int(ends_at), id=session_id)

    def set_cookie(self, text: str) -> str:
        """Return the value of the `Set-Cookie` header that starts this session in a browser."""
        return f"{self.cookie}={text}; Max-Age={SECONDS}; {self.attributes}"

    def clear_cookie(self) -> str:
        """Return the value of the `Set-Cookie` header that makes a browser forget its session."""
        return f"{self.cookie}=; Max-Age=0; {self.attributes}"

    def _signature(self, signing: bytes, name: str, ends_at: str, session_id: str) -> str:
        key = self._api_keys.named(name)
        digest = "" if key is None else key.digest.hex()

        return hmac.digest(signing, json.dumps([name, digest, ends_at, session_id]).encode(), "sha256").hex()
