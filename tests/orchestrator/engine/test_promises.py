"""Every call on the engine's promises ends in time: with a record, UnknownPromise or EngineUnavailable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from resonate.codec import Codec, NoopEncryptor
from resonate.error import ConnectorError, DecodingError, ServerError
from resonate.promises import Promises as SDKPromises
from resonate.types import PromiseRecord, Value
from support.skipping import SKIPPING

from orchestrator.engine.promises import AT_ONCE, Promises
from orchestrator.errors import EngineUnavailable, UnknownPromise


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return SKIPPING


class Sender:
    """An engine that returns the same reply to every request, or raises it."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __getattr__(self, _: str) -> Any:
        async def request(*_arguments: object) -> Any:
            if isinstance(self.answer, BaseException):
                raise self.answer

            if self.answer is None:
                await asyncio.sleep(3600)

            return self.answer

        return request


def promises(answer: object) -> Promises:
    return Promises(SDKPromises(Sender(answer), Codec(NoopEncryptor())), seconds=0.05)  # type: ignore[arg-type]


def calls(client: Promises) -> list[Any]:
    return [
        client.get("a"),
        client.create("a", timeout_at=1, param=None, tags={}),
        client.resolve("a", {}),
        client.cancel("a"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        ConnectorError(OSError("refused")),
        ServerError(500, "broken"),
        ServerError(429, "busy"),
        DecodingError("garbage"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "garbage"),
        PromiseRecord(id="a", state="pending", timeout_at=1, param=Value(data="not base64!")),
        PromiseRecord(id="a", state="pending", timeout_at=1, param=Value(data="bm8ganNvbg==")),
        PromiseRecord(id="a", state="pending", timeout_at=1, param=Value(data=7)),
    ],
    ids=lambda answer: type(answer).__name__,
)
async def test_an_engine_that_fails_in_any_way_is_unavailable(answer: object) -> None:
    for call in calls(promises(answer)):
        with pytest.raises(EngineUnavailable):
            await call


async def test_a_missing_promise_is_unknown() -> None:
    for call in calls(promises(ServerError(404, "not found"))):
        with pytest.raises(UnknownPromise):
            await call


async def test_a_fault_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        await promises(ZeroDivisionError()).get("a")


async def test_an_error_does_not_quote_the_engine() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        await promises(ServerError(500, "the token eyJh.secret")).get("a")

    assert "secret" not in str(caught.value)


class Crowded:
    """The SDK's promises with an engine that never replies; it records the requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, _: str) -> Any:
        async def request(promise_id: str, *_arguments: object) -> Any:
            self.asked.append(promise_id)
            await asyncio.sleep(3600)

        return request


async def test_many_requests_about_one_promise_do_not_delay_those_about_others() -> None:
    engine = Crowded()
    client = Promises(engine, seconds=0.2)  # type: ignore[arg-type]
    crowd = [asyncio.ensure_future(call) for _ in range(100) for call in calls(client)]
    await asyncio.sleep(0.01)
    other = asyncio.ensure_future(client.resolve("b", {}))
    await asyncio.sleep(0.01)

    assert engine.asked == ["a"] * AT_ONCE + ["b"]

    # The wait for a turn counts towards the limit of a call.
    results = await asyncio.gather(*crowd, other, return_exceptions=True)
    assert {type(one) for one in results} == {EngineUnavailable}


def at_hand(stored: PromiseRecord | None, answer: object = None) -> Promises:
    """Return the client of an engine in this process, which has this record at hand."""
    sdk = SDKPromises(Sender(answer), Codec(NoopEncryptor()))  # type: ignore[arg-type]

    return Promises(sdk, seconds=0.05, at_hand=lambda _: stored)


async def test_a_record_at_hand_takes_no_request() -> None:
    stored = PromiseRecord(id="a", state="resolved", timeout_at=1, param=Value(data="MQ=="), value=Value(data="Mg=="))
    record = await at_hand(stored, ZeroDivisionError()).get("a")

    assert (record.param.data, record.value.data) == (1, 2)


async def test_a_record_that_is_not_at_hand_is_asked_for() -> None:
    with pytest.raises(UnknownPromise):
        await at_hand(None, ServerError(404, "not found")).get("a")


async def test_a_record_at_hand_that_cannot_be_read_is_no_answer() -> None:
    with pytest.raises(EngineUnavailable):
        await at_hand(PromiseRecord(id="a", state="pending", timeout_at=1, param=Value(data="not base64!"))).get("a")


async def test_the_record_at_hand_is_unsealed_in_time_like_any_other() -> None:
    async def never(_: PromiseRecord) -> PromiseRecord:
        await asyncio.sleep(3600)
        raise AssertionError

    sdk = SDKPromises(Sender(None), Codec(NoopEncryptor()))  # type: ignore[arg-type]
    stored = PromiseRecord(id="a", state="pending", timeout_at=1)

    with pytest.raises(EngineUnavailable):
        await Promises(sdk, seconds=0.05, unseal=never, at_hand=lambda _: stored).get("a")


async def test_requests_to_an_engine_in_this_process_take_no_turns() -> None:
    engine = Crowded()
    client = Promises(engine, seconds=0.2, at_hand=lambda _: None)  # type: ignore[arg-type]
    results = await asyncio.gather(*[call for _ in range(10) for call in calls(client)], return_exceptions=True)

    assert len(engine.asked) == 40
    assert {type(one) for one in results} == {EngineUnavailable}
