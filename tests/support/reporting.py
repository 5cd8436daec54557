"""A small server to which the notebook reports, and what running the notebook gives."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import notebook
from standardwebhooks import Webhook

NOTEBOOK = Path(notebook.__file__)
TOKEN = "eyJwIjoicGlwZWxpbmUuMToxIn0.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
SETTLED = json.dumps({"state": "settled", "duplicate": False})
PROOF = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Sends the given responses one after another, and repeats the last one."""

    port: int = 0
    answers: list[tuple[int, dict[str, str], str]] = field(default_factory=lambda: [(200, {}, SETTLED)])
    received: list[Received] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/base/callbacks/{TOKEN}"

    def answer(self, *answers: tuple[int, dict[str, str], str]) -> None:
        self.answers = [*answers]


@dataclass(frozen=True)
class Ran:
    code: int
    output: str


Run = Callable[..., Ran]


SCOPE = {"proof_scope": "jobs", "proof_key": "caller", "proof_origin": "receiver"}


def secrets_of(origin: str, caller: str = PROOF) -> dict[str, str]:
    """Return the secret scope `jobs` as environment variables, for a notebook outside Databricks."""
    return {"COUNTERSIGN_SECRET_JOBS_CALLER": caller, "COUNTERSIGN_SECRET_JOBS_RECEIVER": origin}


def check_proof(report: Received, kind: str) -> None:
    """Check the signature with the official library, and the form of the id."""
    Webhook(PROOF).verify(report.body, report.headers)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()[:32]
    assert re.fullmatch(rf"{kind}_{digest}_[A-Za-z0-9_-]{{16,64}}", report.headers["webhook-id"])
