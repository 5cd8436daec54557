"""Sources files as text, loaded with matching secrets."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.configuration import settings
from support.edge import ask
from support.senders import whsec

from orchestrator.errors import ConfigurationError
from receiver.senders.sources import Source, Sources

if TYPE_CHECKING:
    pass

WORKFLOWS: Any = {"ask": ask}
HUB = 'scheme = "github"\nsecrets = ["env:HUB"]'


def load(folder: Path, text: str, environ: dict[str, str] | None = None, **variables: str) -> Sources:
    """Return the sources in this text; HUB, STANDARD, STRIPE and BRICKS contain matching secrets."""
    (folder / "s.toml").write_text(text)
    return Sources(
        settings(folder, SOURCES="s.toml", **variables),
        WORKFLOWS,
        environ={
            "HUB": secrets.token_hex(20),
            "STANDARD": whsec(),
            "STRIPE": f"whsec_{secrets.token_hex(16)}",
            "BRICKS": f"bricks:{secrets.token_hex(16)}",
        }
        | (environ or {}),
        directory=folder,
    )


def refused(folder: Path, text: str, environ: dict[str, str] | None = None, **variables: str) -> ConfigurationError:
    """Return the one-line error with which this text is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, environ, **variables)

    assert "\n" not in str(caught.value)
    return caught.value


def one(sources: Sources, name: str = "hub") -> Source:
    """Return the source with this name."""
    source = sources.get(name)
    assert source is not None
    return source
