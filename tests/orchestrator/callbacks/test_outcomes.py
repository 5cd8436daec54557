"""What a settled wait holds, and how any record of an engine reads."""

from __future__ import annotations

import base64
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from resonate.codec import Codec, NoopEncryptor, decode_settled
from resonate.types import PromiseRecord, Value

from orchestrator.callbacks.outcomes import Outcome, body_of, envelope, read_settled
from orchestrator.durable.opened_at import MARK
from orchestrator.errors import WorkflowCancelled, WorkflowEnded, WorkflowExpired, WorkflowFailed

if TYPE_CHECKING:
    from resonate.types import PromiseState

WAIT = "w.1:1"
RESULT = Outcome(kind="succeeded", callback="run-1", by="callback", body='{"rows": 3}', subject="job 7")


def record(state: PromiseState, value: object, promise_id: str = WAIT, *, settled_at: int | None = 5) -> PromiseRecord:
    return PromiseRecord(id=promise_id, state=state, value=Value(data=value), timeout_at=9, settled_at=settled_at)


def settled(value: object, state: PromiseState = "resolved", promise_id: str = WAIT) -> Outcome:
    found = read_settled(record(state, value, promise_id), callback="run-1")
    assert found is not None
    return found.outcome


def enveloped(outcome: Outcome = RESULT) -> dict[str, object]:
    return envelope(WAIT, outcome, ikey="k", delivery="d")


def test_a_pending_record_is_not_settled() -> None:
    assert read_settled(record("pending", None), callback="run-1") is None


def test_an_envelope_gives_back_the_outcome_its_key_and_its_delivery() -> None:
    found = read_settled(record("resolved", enveloped()), callback="run-1")

    assert found is not None
    assert (found.outcome, found.ikey, found.delivery, found.settled_at) == (RESULT, "k", "d", 5)


@pytest.mark.parametrize("state", ["resolved", "rejected_timedout"])
def test_a_wait_that_the_engine_closed_at_its_deadline_is_expired(state: PromiseState) -> None:
    found = read_settled(record(state, None, settled_at=9), callback="run-1")

    assert found is not None
    assert found.outcome == Outcome(kind="expired", callback="run-1", by="deadline")


@pytest.mark.parametrize(("settled_at", "value"), [(8, None), (None, None), (9, enveloped()), (9, "late")])
def test_a_wait_that_timed_out_before_its_deadline_or_with_a_value_was_not_closed_by_the_engine(
    settled_at: int | None, value: object
) -> None:
    one = record("rejected_timedout", value, settled_at=settled_at)
    found = read_settled(one, callback="run-1")

    assert found is not None
    assert found.outcome == Outcome(kind="cancelled", callback="run-1", by="engine")


@pytest.mark.parametrize("state", ["rejected", "rejected_canceled"])
def test_a_rejected_wait_is_cancelled_and_what_it_holds_is_ignored(state: PromiseState) -> None:
    assert settled(enveloped(), state) == Outcome(kind="cancelled", callback="run-1", by="engine")


@pytest.mark.parametrize("value", [{}, {"countersign": 2}, [], "x", 7, True, {"countersign": 1, "promise": "w.1:2"}])
def test_a_value_that_is_no_envelope_of_ours_answers_nothing(value: object) -> None:
    assert settled(value).kind == "cancelled"


def test_the_result_of_a_success_is_its_value() -> None:
    assert RESULT.result() == {"rows": 3}
    assert Outcome(kind="succeeded", callback="bank", by="callback", body="null").result() is None


@pytest.mark.parametrize(
    ("kind", "body", "end", "error"),
    [
        ("expired", None, WorkflowExpired, {"message": "the callback bank was not answered before its deadline"}),
        ("cancelled", None, WorkflowCancelled, {"message": "the callback bank was withdrawn"}),
        ("cancelled", body_of("withdrawn"), WorkflowCancelled, {"message": "withdrawn"}),
        ("failed", body_of("closed", [1]), WorkflowFailed, {"message": "closed", "details": [1]}),
        ("died", body_of("lost"), WorkflowFailed, {"message": "lost"}),
        ("reject", '"no"', WorkflowFailed, {"message": "the callback bank ended as reject"}),
    ],
)
def test_there_is_no_result_of_anything_else(
    kind: str, body: str | None, end: type[WorkflowEnded], error: dict[str, object]
) -> None:
    with pytest.raises(end) as caught:
        Outcome(kind=kind, callback="bank", by="callback", body=body).result()

    assert caught.value.error == error | {"outcome": kind}


@pytest.mark.parametrize("name", [name for name in enveloped() if name != "opened"])
@pytest.mark.parametrize("value", [[], 7.5, {"a": 1}])
def test_an_envelope_with_a_field_missing_or_of_another_type_answers_nothing(name: str, value: object) -> None:
    assert settled(enveloped() | {name: value}).kind == "cancelled"
    assert settled({key: held for key, held in enveloped().items() if key != name}).kind == "cancelled"


def test_an_envelope_written_for_another_promise_answers_nothing() -> None:
    assert settled(enveloped(), promise_id="w.2:1").kind == "cancelled"


@pytest.mark.parametrize("written", [4, None])
def test_an_envelope_written_for_an_earlier_wait_of_the_same_id_answers_nothing(written: int | None) -> None:
    value = envelope(WAIT, RESULT, ikey="k", delivery="d", opened=written)
    kinds = []

    for created_at, tags in ((4, MARK), (5, MARK), (4, {})):
        one = PromiseRecord(
            id=WAIT, state="resolved", value=Value(data=value), timeout_at=9, created_at=created_at, tags=tags
        )
        found = read_settled(one, callback="run-1")
        assert found is not None
        kinds.append(found.outcome.kind)

    # What an earlier release has written names no moment, and is good for its promise.
    assert kinds == (["succeeded", "cancelled", "cancelled"] if written else ["succeeded"] * 3)


@pytest.mark.parametrize("opened", [[4], {"a": 1}, "4", True])
def test_an_envelope_that_names_no_proper_moment_answers_nothing(opened: object) -> None:
    assert settled(enveloped() | {"opened": opened}).kind == "cancelled"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("unpickled",))


def bomb() -> str:
    return base64.b64encode(pickle.dumps(Bomb())).decode()


@pytest.mark.parametrize("kind", ["succeeded", "failed"])
def test_a_pickle_in_a_callers_body_stays_text_all_the_way_through_the_sdk(kind: str) -> None:
    body = f'{{"__type": "error", "message": "x", "__py_pickle": "{bomb()}"}}'
    codec = Codec(NoopEncryptor())
    stored = codec.encode(enveloped(Outcome(kind=kind, callback="run-1", by="callback", body=body)))
    read = codec.decode_promise(PromiseRecord(id=WAIT, state="resolved", value=stored, timeout_at=9))

    assert decode_settled(read)["body"] == body
    assert settled(read.value.data).value["__py_pickle"] == bomb()


@pytest.mark.parametrize(
    ("one", "other"),
    [('{"a": 1, "b": 2}', '{"b":2,"a":1.0}'), ("1e2", "100"), ('"\\u00e9"', '"é"'), ("[]", " [ ] ")],
)
def test_bodies_that_are_equal_as_json_are_the_same_outcome(one: str, other: str) -> None:
    assert with_body(one).same_as(with_body(other))


@pytest.mark.parametrize(
    ("one", "other"), [("1", "true"), ("0", "false"), ("null", "0"), ("[1,2]", "[2,1]"), ('""', "null"), ("1", '"1"')]
)
def test_bodies_that_differ_as_json_are_different_outcomes(one: str, other: str) -> None:
    assert not with_body(one).same_as(with_body(other))


def test_success_and_failure_with_equal_bodies_are_different_outcomes() -> None:
    body = body_of("x")
    success, failure = (Outcome(kind=kind, callback="c", by="callback", body=body) for kind in ("succeeded", "failed"))

    assert not success.same_as(failure)


def test_numbers_come_out_as_they_went_in() -> None:
    assert with_body("123456789012345678901234567890").value == 123456789012345678901234567890


def with_body(text: str) -> Outcome:
    return Outcome(kind="succeeded", callback="run-1", by="callback", body=text)
