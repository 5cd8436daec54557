"""People who use the console over HTTP, as a browser would without running it: cookies are kept, forms are filled."""

from __future__ import annotations

import hashlib
import html
import re
import secrets
from typing import TYPE_CHECKING, Any

import httpx2
from support.configuration import API_KEY
from support.plant import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A key of each role, and the setting that admits them.
KEYS = {"viewer": secrets.token_urlsafe(32), "nightly": secrets.token_urlsafe(32), "admin": secrets.token_urlsafe(32)}
ROLES = {"viewer": "read", "nightly": "start", "admin": "operate"}


def key_setting(*names: str) -> str:
    """Return the value of COUNTERSIGN_API_KEYS with these keys, by default all of them and the tests' own."""
    keys = {name: KEYS[name] for name in names} if names else {**KEYS, "tests": API_KEY}

    return ",".join(
        f"{name}:{hashlib.sha256(key.encode()).hexdigest()}:{ROLES.get(name, 'operate')}" for name, key in keys.items()
    )


class Window:
    """A window of a browser at the console: it keeps its cookies, and sends forms as its page has them."""

    def __init__(self, app: Any, base_url: str = "http://127.0.0.1:8000", path: str = "") -> None:
        transport = httpx2.ASGITransport(app=app)
        self.client = httpx2.AsyncClient(transport=transport, base_url=base_url, timeout=PATIENCE)
        self.console = f"{path}/console"

    async def sign_in(self, key: str = API_KEY, **fields: str) -> httpx2.Response:
        """Send the form that asks for a key."""
        return await self.client.post(f"{self.console}/sign-in", data={"key": key, **fields})

    async def sign_out(self) -> httpx2.Response:
        return await self.client.post(f"{self.console}/sign-out")

    async def get(self, path: str = "", **headers: str) -> httpx2.Response:
        return await self.client.get(f"{self.console}{path}", headers=headers)

    async def send(self, page: httpx2.Response, button: str, **fields: str) -> httpx2.Response:
        """Fill in the form of this page that has this button, and send it."""
        form = form_of(page.text, button, page.request.url.raw_path.decode())

        return await self.client.post(form.action, data={**form.fields, **fields})


class Form:
    """A form as a page has it: where it goes, and its fields with their values."""

    def __init__(self, action: str, fields: Mapping[str, str]) -> None:
        self.action = action
        self.fields = fields


def form_of(page: str, button: str, path: str = "") -> Form:
    """Return the form of this page that has a button with this text. One without an address goes to the page's own."""
    for attributes, content in re.findall(r"<form\b([^>]*)>(.*?)</form>", page, re.DOTALL):
        if re.search(rf"<button[^>]*>\s*{re.escape(button)}\s*</button>", content):
            inputs = [dict(re.findall(r'([\w-]+)="([^"]*)"', one)) for one in re.findall(r"<input\b([^>]*)>", content)]
            fields = {one["name"]: html.unescape(one.get("value", "")) for one in inputs if one.get("type") == "hidden"}
            action = re.search(r'action="([^"]*)"', attributes)

            return Form(html.unescape(action[1]) if action else path, fields)

    raise AssertionError(f"no form with the button {button}")


async def signed_in(app: Any, key: str = API_KEY, base_url: str = "http://127.0.0.1:8000", path: str = "") -> Window:
    """Return a window in which this key is signed in."""
    window = Window(app, base_url, path)
    assert (await window.sign_in(key)).status_code == 303

    return window
