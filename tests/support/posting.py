"""Third parties that send deliveries to the receiver, each signing in its own way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2
    from support.edge import Edge
    from support.senders import Sender

#: The setting by which a source says that its tokens are in the signed body.
IN_BODY = 'token = "meta.token"'


@dataclass
class Post:
    """An edge and the senders that it knows."""

    here: Edge
    known: dict[str, Sender]

    async def deliver(
        self, name: str, body: object, *, token: str | None = None, more: dict[str, str] | None = None, **signing: Any
    ) -> httpx2.Response:
        """Send this body, a text unchanged and anything else as JSON, with the token in the path if there is one."""
        text = body if isinstance(body, str) else json.dumps(body)
        return await self.send(name, text, self.known[name].sign(text, **signing) | (more or {}), token=token)

    async def send(self, name: str, content: Any, headers: Any, *, token: str | None = None) -> httpx2.Response:
        path = f"/webhooks/{name}" + (f"/{token}" if token is not None else "")
        return await self.here.client.post(path, content=content, headers=headers)
