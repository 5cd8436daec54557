"""Settings for tests, with new keys each time: none of them is in this repository."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING

from orchestrator.config.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.config.settings import Settings

API_KEY = secrets.token_urlsafe(32)


def fresh_key(size: int = 32) -> str:
    """Return a new key as unpadded base64url."""
    return base64.urlsafe_b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()


def environment(engine: str = "memory://", **variables: str | None) -> dict[str, str]:
    """Return a complete and valid process environment, changed by the variables (named without their prefix).

    None removes a variable.
    """
    remote = not engine.startswith(("memory:", "sqlite:"))
    complete = {
        "COUNTERSIGN_ENGINE": engine,
        "COUNTERSIGN_SIGNING_KEYS": fresh_key(),
        "COUNTERSIGN_PUBLIC_URL": "http://127.0.0.1:8000",
        "COUNTERSIGN_API_KEYS": f"tests:{hashlib.sha256(API_KEY.encode()).hexdigest()}",
    }

    if remote:
        complete["COUNTERSIGN_PAYLOAD_KEYS"] = fresh_key()

    changed = complete | {f"COUNTERSIGN_{name}": value for name, value in variables.items()}

    return {name: value for name, value in changed.items() if value is not None}


def settings(directory: Path, engine: str = "memory://", **variables: str | None) -> Settings:
    """Return such an environment's settings; `directory` is the working directory, without a .env file."""
    return load_settings(environment(engine, **variables), directory)
