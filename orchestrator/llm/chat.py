"""A language model behind an OpenAI-compatible chat API, such as Ollama, vLLM or Databricks model serving.

One call is one request: whoever asks decides whether to ask again. An answer that breaks off, never comes or is no
answer raises, so half a text never passes for a whole one. The key and what the server says about a refusal are in no
error, because servers repeat parts of both the key and the question. Redirects are not followed: they would carry the
key elsewhere.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypedDict
from urllib.parse import unquote, urlsplit

import anyio.to_thread

from orchestrator.counts import Counts
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.llm.replies import read_reply
from orchestrator.text.display import one_line
from orchestrator.text.strict_json import loads_strict
from orchestrator.text.times import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx2

    from orchestrator.config.secret import Secret
    from orchestrator.llm.replies import Reply

#: A server's own word for a refusal, such as `model_not_found`. Anything else that it says is not repeated.
_WORD: Final = re.compile(r"[a-z][a-z_]{2,39}")

_LONGEST_NAME: Final = 100
_TOO_MANY_BYTES: Final = 4096

#: Refusals after which another try may succeed.
_PASSING: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


class Message(TypedDict):
    """One message of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a call may take, in seconds, and how large its answer may be, in bytes.

    `silence` is how long the server may say nothing. A model that reads a long page on a processor may need longer
    before its first word; servers that keep what they have read go on from there in the next try.
    """

    connect: float = 10.0
    silence: float = 60.0
    total: float = 600.0
    size: int = 1_000_000


class LanguageModel:
    """The model of this installation, for use in steps. `address` is the setting COUNTERSIGN_LLM, None without one."""

    def __init__(
        self,
        address: Secret | None = None,
        *,
        limits: Limits | None = None,
        counts: Counts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = None if address is None else _Address.of(address.text())
        self._limits = limits if limits is not None else Limits()
        self._counts = counts if counts is not None else Counts()
        self._clock = clock

    @property
    def name(self) -> str | None:
        """The model's name, None if no model is configured."""
        return None if self._address is None else one_line(self._address.model, _LONGEST_NAME)

    async def ask(self, conversation: Sequence[Message], *, key: str) -> Reply:
        """Return what the model says next. It has no tools, and is asked to stream so that a silent server is noticed.

        `key` names this question, the same each time that it is asked. Most servers take no notice of it, so a call
        that is made again may be answered, and charged for, again.

        Raises:
            StepRefused: no model is configured, or its server will not answer this.
            StepUnavailable: no complete answer in time. `retry_after` is what the server named.
        """
        if self._address is None:
            raise StepRefused("no model is configured: set COUNTERSIGN_LLM")

        with self._counts.result("model_calls"):
            body = await self._posted(self._address, conversation, key)

            return await anyio.to_thread.run_sync(read_reply, body)

    async def _posted(self, address: _Address, conversation: Sequence[Message], key: str) -> bytes:
        import httpx2  # noqa: PLC0415 - takes 0.1 s, which a worker without a model does not spend

        limits = self._limits
        timeout = httpx2.Timeout(limits.silence, connect=limits.connect)
        request = {"model": address.model, "messages": list(conversation), "stream": True}
        failure: StepRefused | StepUnavailable

        try:
            async with (
                asyncio.timeout(limits.total),
                httpx2.AsyncClient(verify=_trust(), timeout=timeout, trust_env=False) as client,
                client.stream("POST", address.url, headers=address.headers(key), json=request) as response,
            ):
                body = await _read(response, limits.size)
        except TimeoutError:
            failure = StepUnavailable("the model did not finish its answer in time")
        except httpx2.TimeoutException:
            failure = StepUnavailable("the model's server was silent for too long")
        except (httpx2.HTTPError, OSError) as error:
            failure = StepUnavailable(f"the model's server {_reason(error)}")
        else:
            if response.status_code == HTTPStatus.OK:
                return body

            failure = _refusal(response, body, self._clock())

        # Raised here, so that the library's error, which holds the request, does not become the context of ours.
        raise failure


@dataclass(frozen=True, kw_only=True)
class _Address:
    url: str
    model: str
    authorization: Callable[[], str | None]

    @classmethod
    def of(cls, setting: str) -> _Address:
        parts = urlsplit(setting)
        user, place = parts.netloc.rpartition("@")[::2]
        name, colon, password = user.partition(":")
        key = unquote(password if colon else name)

        return cls(
            url=f"{parts.scheme}://{place}{parts.path.rstrip('/')}/chat/completions",
            model=unquote(parts.query.partition("=")[2]),
            authorization=lambda: f"Bearer {key}" if key else None,  # not a field that would be printed
        )

    def headers(self, key: str) -> dict[str, str]:
        given = self.authorization()
        headers = {
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
            "Idempotency-Key": key,
        }

        return headers if given is None else headers | {"Authorization": given}


async def _read(response: httpx2.Response, most: int) -> bytes:
    """Return the body, at most `most` bytes after decompression; of a refusal only its beginning."""
    most = most if response.status_code == HTTPStatus.OK else _TOO_MANY_BYTES
    body = bytearray()

    async for chunk in response.aiter_bytes(most):
        body += chunk

        if len(body) > most:
            break

    if len(body) > most and response.status_code == HTTPStatus.OK:
        raise StepRefused(f"the model's answer has more than {most:,} bytes")

    return bytes(body)


def _refusal(response: httpx2.Response, body: bytes, now: float) -> StepRefused | StepUnavailable:
    status = response.status_code
    word = _word_of(body)
    said = f"the model's server answered {status}" + (f" ({word})" if word else "")

    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return StepUnavailable(said, retry_after=retry_after(response.headers.get("retry-after"), now))

    if response.is_redirect:
        return StepRefused(f"{said}: COUNTERSIGN_LLM must name the address that it redirects to")

    return StepRefused(said)


def _word_of(body: bytes) -> str | None:
    try:
        value = loads_strict(body)
    except ValueError:
        return None

    match value:
        case {"error": {"code": str(word)} | {"type": str(word)}} if _WORD.fullmatch(word):
            return word
        case _:
            return None


def _reason(error: BaseException) -> str:
    """Return what is wrong with the connection. The library's own text may quote the address."""
    causes: list[BaseException | None] = [error]

    while causes[-1] is not None:
        if isinstance(causes[-1], ssl.SSLCertVerificationError):
            return "has a certificate that is not trusted"

        causes.append(causes[-1].__cause__ or causes[-1].__context__)

    return f"could not be reached ({type(error).__name__})"


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return a context that trusts what the system trusts, or SSL_CERT_FILE."""
    return ssl.create_default_context()
