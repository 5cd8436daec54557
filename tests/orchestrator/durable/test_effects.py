"""What is asked for when a wait is opened, on an engine about which that is known late."""

from __future__ import annotations

from typing import Any

import pytest
from resonate.types import PromiseCreateReq, Value
from support.plant import pause

from orchestrator.durable.effects import AskedWait


class Engine:
    """An engine that is looked at for a while."""

    own_address = "here"

    def __init__(self, *, plain: bool) -> None:
        self._plain = plain

    async def ends_plain_promises(self) -> bool:
        await pause(0.3)

        return self._plain


async def asked(*, plain: bool, latest: int = 10**6) -> PromiseCreateReq:
    engine: Any = Engine(plain=plain)
    wait = AskedWait(engine=engine, tags={"a": "b"}, holding=None, latest=latest)

    return await wait.asked_by(PromiseCreateReq(id="w.1:1", timeout_at=5000, param=Value(), tags={"c": "d"}))


async def test_a_wait_that_is_held_up_ends_as_much_later() -> None:
    request = await asked(plain=True)

    assert 5300 <= request.timeout_at < 7000
    assert request.tags == {"a": "b", "c": "d"}


async def test_the_task_of_a_wait_that_is_held_up_comes_as_much_later() -> None:
    request = await asked(plain=False)

    assert 5300 <= request.timeout_at < 7000
    assert request.tags["resonate:delay"] == str(request.timeout_at - 1)
    assert request.tags["resonate:target"] == "here"


@pytest.mark.parametrize("plain", [True, False])
async def test_no_wait_outlives_its_workflow(*, plain: bool) -> None:
    assert (await asked(plain=plain, latest=5100)).timeout_at == 5100
