"""Replies to fenced requests without the whole branch, and all other replies as they were."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from resonate.connections import HttpConnection
from resonate.resonate import Resonate
from resonate.types import PromiseCreateReq, PromiseSettleReq, Value
from support.engines import resonate_server

from orchestrator.engine.remote.short_replies import ShortReplies

RECORD = {"id": "a:1", "state": "pending", "param": {"data": "x"}, "tags": {}, "timeoutAt": 1, "createdAt": 1}
HEAD = {"corrId": "c", "status": 200, "version": "1"}


class Fake:
    """A network that always gives this reply."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None:
        self.calls.append("stop")

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        self.calls.append(f"{req} {headers}")
        return self.reply


def reply_to(kind: str, data: Any) -> str:
    return json.dumps({"kind": kind, "head": HEAD, "data": data})


async def test_a_fenced_reply_is_the_same_without_its_preload() -> None:
    action = {"kind": "promise.create", "head": HEAD, "data": {"promise": RECORD}}
    inner = Fake(reply_to("task.fence", {"action": action, "preload": [RECORD] * 9}))
    network = ShortReplies(inner)
    await network.start()
    shortened = await network.send('{"kind":"task.fence","head":{}}', {"resonate:origin": "a"})
    await network.stop()

    assert json.loads(shortened) == json.loads(reply_to("task.fence", {"action": action}))
    assert inner.calls == ["start", '{"kind":"task.fence","head":{}} {\'resonate:origin\': \'a\'}', "stop"]


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        ("task.acquire", reply_to("task.acquire", {"task": {}, "promise": RECORD, "preload": [RECORD]})),
        ("task.suspend", reply_to("task.suspend", {"preload": [RECORD]})),
        ("task.fence", reply_to("task.fence", "the lease has lapsed")),
        ("task.fence", reply_to("task.fence", {"error": "no"})),
        ("task.fence", "nonsense"),
        ("task.fence", ""),
    ],
)
async def test_any_other_reply_passes_as_it_is(kind: str, reply: str) -> None:
    assert await ShortReplies(Fake(reply)).send(f'{{"kind":"{kind}","head":{{}}}}') == reply


class Measured(HttpConnection):
    """A connection that notes how long each reply was."""

    lengths: ClassVar[list[int]] = []

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:
        reply = await super().send(req, headers)
        self.lengths.append(len(reply))

        return reply


@pytest.mark.slow
async def test_a_worker_gets_the_steps_with_its_task_and_not_with_each_step(tmp_path: Path) -> None:
    end = int((time.time() + 3600) * 1000)
    tags = dict.fromkeys(("resonate:origin", "resonate:branch", "resonate:parent"), "root")

    with resonate_server(tmp_path) as server:
        resonate = Resonate(network=ShortReplies(Measured(server.url)), sources=[], autostart=False, env={})
        sender = resonate._sender
        task = await sender.task_create("p", 60_000, request("root", end, tags | {"resonate:target": "poll://any@no"}))

        for step in range(1, 21):
            created = await sender.task_fence_create("root", task.task.version, request(f"root:{step}", end, tags))
            settlement = PromiseSettleReq(id=f"root:{step}", state="resolved", value=Value(data="x"))
            settled = await sender.task_fence_settle("root", task.task.version, settlement)
            assert (created.promise.id, created.preload) == (f"root:{step}", [])
            assert (settled.promise.state, settled.preload) == ("resolved", [])

        # The server still sends them: this file exists because of that.
        assert Measured.lengths[-1] > 3 * Measured.lengths[1]

        await sender.task_release("root", task.task.version)
        assert len((await sender.task_acquire("root", task.task.version, "p", 60_000)).preload) == 20
        await resonate.stop()


def request(promise_id: str, end: int, tags: dict[str, str]) -> PromiseCreateReq:
    return PromiseCreateReq(id=promise_id, timeout_at=end, param=Value(data="x"), tags=tags)
