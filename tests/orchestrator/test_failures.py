"""A failure goes through the store as plain data, whatever it was and whoever wrote it."""

from __future__ import annotations

import base64
import importlib.util
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from resonate import codec
from resonate.codec import Codec, NoopEncryptor, decode_settled
from resonate.context import Context as SDKContext
from resonate.error import ApplicationError
from resonate.retry import Never
from resonate.types import PromiseRecord, Value
from support.configuration import settings
from support.plant import plant

from orchestrator import Context, StepFailed, StoreTampered, workflow
from orchestrator.databricks.run import RunGone
from orchestrator.engine import connect
from orchestrator.errors import (
    StartRefused,
    StepRefused,
    StepUnavailable,
    WorkflowCancelled,
    WorkflowExpired,
    WorkflowFailed,
)
from orchestrator.failures import forbid_pickles


@pytest.fixture(autouse=True)
def _forbidden() -> None:
    forbid_pickles()


class OwnError(Exception):
    """What an author's step raises."""


class Creates:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._path,))


def through_the_store(error: Exception) -> BaseException:
    own = Codec(NoopEncryptor())
    record = PromiseRecord(id="w.1:1", state="rejected", value=own.encode(error), timeout_at=9)

    with pytest.raises(Exception) as raised:  # noqa: PT011 - the tests look at what it is
        decode_settled(own.decode_promise(record))

    return raised.value


def test_an_authors_error_comes_back_as_the_name_of_its_type_and_its_text() -> None:
    read = through_the_store(OwnError("no such order"))

    assert isinstance(read, StepFailed)
    assert (read.kind, read.message, str(read)) == ("OwnError", "no such order", "OwnError: no such order")


def test_a_failure_that_is_handed_on_stays_the_same() -> None:
    assert str(through_the_store(through_the_store(OwnError("x")))) == "OwnError: x"  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, '"x"'])
def test_an_end_without_a_reason_that_can_be_read_is_a_failed_step(text: str) -> None:
    failure = Value(data={"__type": "error", "message": "no", "ours": "failed", "error": text})

    with pytest.raises(StepFailed):
        decode_settled(PromiseRecord(id="w.1:1", state="rejected", value=failure, timeout_at=9))


def test_an_end_may_name_anything() -> None:
    failure = Value(data={"ours": "failed", "error": '{"self": 1, "message": "no"}'})

    with pytest.raises(WorkflowFailed) as raised:
        decode_settled(PromiseRecord(id="w.1:1", state="rejected", value=failure, timeout_at=9))

    assert raised.value.error == {"message": "no", "self": 1}


@pytest.mark.parametrize("kind", [WorkflowFailed, WorkflowExpired, WorkflowCancelled])
def test_an_end_comes_back_with_all_it_says(kind: type[WorkflowFailed]) -> None:
    read = through_the_store(kind("no", run_id=7, details={"a": [1, None]}))

    assert type(read) is kind
    assert read.error == {"message": "no", "run_id": 7, "details": {"a": [1, None]}}


def test_errors_of_ours_come_back_as_themselves_and_their_subclasses_as_them() -> None:
    away = through_the_store(StepUnavailable("away", retry_after=3.5))
    tampered = through_the_store(StoreTampered("w.1:2"))

    assert type(through_the_store(RunGone(7))) is StepRefused
    assert isinstance(away, StepUnavailable)
    assert away.retry_after == 3.5
    assert isinstance(tampered, StoreTampered)
    assert tampered.promise_id == "w.1:2"
    assert type(through_the_store(ApplicationError("cancelled"))) is ApplicationError


@pytest.mark.parametrize("text", ["\ud800", "a" * 100_000, "", "ü\0"])
def test_any_text_can_be_carried(text: str) -> None:
    assert isinstance(through_the_store(OwnError(text)), StepFailed)


def test_what_is_stored_holds_no_pickle() -> None:
    stored = base64.b64decode(Codec(NoopEncryptor()).encode(OwnError("x")).data or "")

    assert stored == b'{"__type":"error","kind":"OwnError","message":"x"}'


@pytest.mark.parametrize("state", ["rejected", "rejected_canceled", "rejected_timedout"])
@pytest.mark.parametrize("ours", [{}, {"ours": "tampered"}, {"ours": "failed", "error": "{}"}, {"kind": "x"}])
def test_a_pickle_in_the_store_is_never_read(tmp_path: Path, state: Any, ours: dict[str, Any]) -> None:
    trace = tmp_path / "it-ran"
    pickled = base64.b64encode(pickle.dumps(Creates(trace))).decode()
    value = Value(data={"__type": "error", "message": "as it was", "__py_pickle": pickled} | ours)

    with pytest.raises(Exception):  # noqa: B017, PT011 - any
        decode_settled(PromiseRecord(id="w.1:1", state=state, value=value, timeout_at=9))

    raw = Codec(NoopEncryptor()).encode(value.data)
    assert isinstance(Codec(NoopEncryptor()).decode_error(raw), Exception)
    assert not trace.exists()


def test_the_sdk_itself_does_read_it(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("resonate.codec")
    assert spec is not None
    assert spec.loader is not None
    untouched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(untouched)
    value = Value(data={"__py_pickle": base64.b64encode(pickle.dumps(Creates(tmp_path / "it-ran"))).decode()})

    with pytest.raises(ApplicationError):
        untouched.decode_settled(PromiseRecord(id="w.1:1", state="rejected", value=value, timeout_at=9))

    assert (tmp_path / "it-ran").exists()


def test_a_record_of_an_older_version_reads_as_a_plain_failure() -> None:
    value = Value(data={"__type": "error", "message": "as it was", "__py_pickle": "gASV"})

    with pytest.raises(StepFailed, match=r"^as it was$"):
        decode_settled(PromiseRecord(id="w.1:1", state="rejected", value=value, timeout_at=9))


@pytest.mark.parametrize("value", [[1], "text", 7, {"a": 1}, {"message": 7}, {"ours": []}])
def test_a_rejection_that_countersign_did_not_write_is_a_failure_too(value: object) -> None:
    with pytest.raises(StepFailed):
        decode_settled(PromiseRecord(id="w.1:1", state="rejected", value=Value(data=value), timeout_at=9))


def test_a_rejection_without_a_value_is_an_application_error() -> None:
    with pytest.raises(ApplicationError):
        decode_settled(PromiseRecord(id="w.1:1", state="rejected_canceled", timeout_at=9))


def test_an_sdk_that_ignores_the_replacement_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads_otherwise(record: PromiseRecord) -> None:
        raise ApplicationError(str(record.id))

    monkeypatch.setattr("orchestrator.failures.read_settled", reads_otherwise)

    with pytest.raises(StartRefused, match="resonate-sdk"):
        forbid_pickles()


async def test_connecting_to_an_engine_forbids_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_deserialize_error", None)
    engine = await connect(settings(tmp_path), work=True)
    await engine.stop()

    assert codec._deserialize_error is not None


class Nothing(BaseModel):
    """No input."""


class Seen:
    """What every run of the workflow's code saw, replays included."""

    def __init__(self) -> None:
        self.runs: list[str] = []


async def break_down(_: SDKContext) -> None:
    raise OwnError("no such order")


@workflow()
async def catching(ctx: Context, _: Nothing) -> str:
    """Catch a step's failure, and sleep, so that all of it is replayed."""
    try:
        await ctx.options(retry_policy=Never()).run(break_down)
        text = ""
    except StepFailed as error:
        text = f"{error.kind}/{error.message}"

    ctx.get_dependency(Seen).runs.append(text)
    await ctx.sleep(timedelta(milliseconds=50))

    return text


@workflow()
async def not_catching(ctx: Context, _: Nothing) -> None:
    """Let a step's failure end the workflow."""
    await ctx.options(retry_policy=Never()).run(break_down)


async def test_a_workflow_sees_the_same_failure_on_its_first_run_and_when_it_is_replayed(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", catching, working=False) as here:
        seen = Seen()
        here.engine.resonate.with_dependency(seen)
        here.engine.start()
        await here.start("1")

        assert await here.ended("1") == ("succeeded", "OwnError/no such order")
        assert seen.runs == ["OwnError/no such order"] * 2


async def test_a_failure_that_nobody_catches_ends_the_workflow_and_is_named(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", not_catching) as here:
        await here.start("1")

        state, error = await here.ended("1")

    assert state == "failed"
    assert error["message"].startswith("a step raised OwnError: break_down at test_failures.py:")
