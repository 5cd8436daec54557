"""A scripted chat server on a loopback socket: it counts calls, and answers as a test says, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Sequence

MODEL = "small:7b"
KEY = "hunter-the-fifth"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server sends. With `hangs` it says nothing more afterwards and keeps the connection open."""

    data: bytes
    hangs: bool = False


def answer(status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> Answer:
    """Return a response; `length` is the length that it claims, None for the true one."""
    fields = {"content-length": str(len(body) if length is None else length), "connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    return Answer(data=f"HTTP/1.1 {status} Because\r\n{head}\r\n".encode() + body)


def says(text: str, *, reason: str | None = "stop") -> Answer:
    """Return an answer in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}

    return answer(200, json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def streams(text: str, *, reason: str | None = "stop", done: bool = True) -> Answer:
    """Return an answer word by word, as events; without `done` and `reason` it breaks off."""
    pieces: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    pieces += [{"delta": {"content": word}, "finish_reason": None} for word in text.split(" ")]
    pieces[2:] = [{"delta": {"content": f" {one['delta']['content']}"}} for one in pieces[2:]]
    pieces += [] if reason is None else [{"delta": {}, "finish_reason": reason}]
    events = [json.dumps({"object": "chat.completion.chunk", "choices": [piece]}) for piece in pieces]
    events += ["[DONE]"] if done else []
    body = "".join(f"data: {event}\n\n" for event in events)

    return answer(200, body.encode(), content_type="text/event-stream")


SILENCE = Answer(data=b"", hangs=True)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """All messages as one text."""
        return "\n".join(message["content"] for message in self.body["messages"])


@dataclass(kw_only=True)
class ChatServer:
    """The server: answers from the script, and a summary with its number when the script is over."""

    script: list[Answer] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    port: int = 0

    @property
    def setting(self) -> str:
        """The value of COUNTERSIGN_LLM that leads here."""
        return f"http://{KEY}@127.0.0.1:{self.port}/v1?model={MODEL}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in fields)}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.calls.append(Call(path=line.split(" ")[1], headers=headers, body=body))
            chosen = self.script.pop(0) if self.script else says(f"Summary {len(self.calls)}.")
            writer.write(chosen.data)
            await writer.drain()

            if chosen.hangs:
                await reader.read()

        writer.close()


@contextlib.asynccontextmanager
async def chat_server(script: Sequence[Answer] = (), *, tls: ssl.SSLContext | None = None) -> AsyncIterator[ChatServer]:
    """Run a server with this script on a loopback port."""
    one = ChatServer(script=list(script))
    server = await asyncio.start_server(one.handle, "127.0.0.1", 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]

    try:
        yield one
    finally:
        server.close()
