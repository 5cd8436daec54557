"""Requests of the engines' protocol as text: those that the SDK has no method for, and how its own are told apart."""

from __future__ import annotations

import uuid

import msgspec
from resonate_base import PROTOCOL_VERSION


def beginning(kind: str) -> str:
    """Return how the SDK's own request of this kind begins."""
    return f'{{"kind":"{kind}",'


def request(kind: str, **data: object) -> str:
    """Return a request of this kind, which no other request can be mistaken for."""
    head = {"corrId": uuid.uuid4().hex, "version": PROTOCOL_VERSION}

    return msgspec.json.encode({"kind": kind, "head": head, "data": data}).decode()
