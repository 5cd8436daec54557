"""Third-party deliveries over HTTP, signed by the senders' own libraries: what is settled, started, and answered."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import pickle
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx2
import pytest
from pydantic import BaseModel
from support.edge import AUTHORISED, Edge, edge, minted, problem
from support.plant import pause
from support.senders import BODY_ONLY, SIGNED, TIMED, Sender, as_github, as_standard, as_svix, senders, sources_file

from orchestrator import Context, workflow
from orchestrator.callbacks.outcomes import Outcome
from orchestrator.callbacks.settlement import resolve
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret
from orchestrator.engine import connecting
from orchestrator.engine.embedded.connection import EmbeddedConnection
from receiver.senders.deliveries import CUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Anything(BaseModel):
    """An input of any form."""

    name: Any = None
    more: Any = None
    deadline: Any = None


@workflow()
async def note(_ctx: Context, _request: Anything) -> None:
    """Take anything and do nothing."""


IN_BODY = 'token = "meta.token"'


@dataclass
class Post:
    """An edge, the senders it knows, and how they deliver."""

    here: Edge
    known: dict[str, Sender]

    async def deliver(
        self, name: str, body: object, *, token: str | None = None, more: dict[str, str] | None = None, **signing: Any
    ) -> httpx2.Response:
        """Deliver this body, text as it is and anything else as JSON, with the token in the path if there is one."""
        text = body if isinstance(body, str) else json.dumps(body)
        return await self.send(name, text, self.known[name].sign(text, **signing) | (more or {}), token=token)

    async def send(self, name: str, content: Any, headers: Any, *, token: str | None = None) -> httpx2.Response:
        path = f"/webhooks/{name}" + (f"/{token}" if token is not None else "")
        return await self.here.client.post(path, content=content, headers=headers)


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    """Senders whose tokens stand in the path."""
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known)) as here:
        yield Post(here, known)


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Post]:
    """Senders whose tokens stand in the signed body."""
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, IN_BODY)) as here:
        yield Post(here, known)


@pytest.fixture
async def starting(tmp_path: Path) -> AsyncIterator[Post]:
    """Senders whose deliveries start a workflow."""
    known = senders()
    lines = 'workflow = "ask"\ninput = "question"'
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        yield Post(here, known)


async def untouched(post: Post, workflow_id: str = "1") -> bool:
    return (await post.here.engine.promises.get(f"ask.{workflow_id}:1")).state == "pending"


# -- settling -----------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNED)
async def test_a_signed_delivery_settles_the_wait_that_its_path_names(post: Post, name: str) -> None:
    token = await post.here.asked()
    answer = await post.deliver(name, {"paid": [1, 2.5, "é"]}, token=token)

    assert answer.status_code == 200
    document = answer.json()
    assert document.pop("settled_at").endswith("Z")
    assert document == {"state": "settled", "duplicate": False, "callback": "answer"}
    assert (await post.here.ended())["result"] == {
        "kind": "succeeded",
        "value": {"paid": [1, 2.5, "é"]},
        "by": "webhook",
    }


@pytest.mark.parametrize("name", SIGNED)
async def test_a_token_in_the_signed_body_settles_its_wait_and_is_cut_out_before_the_body_is_stored(
    inside: Post, name: str
) -> None:
    token = await inside.here.asked()
    body = {"meta": {"token": token, "link": f"https://x/{token}?a"}, token: 1, "n": 1.0}

    assert (await inside.deliver(name, body)).json()["state"] == "settled"
    assert (await inside.here.ended())["result"]["value"] == {
        "meta": {"token": CUT, "link": f"https://x/{CUT}?a"},
        CUT: 1,
        "n": 1.0,
    }
    assert token not in repr(await inside.here.engine.promises.get("ask.1:1"))


async def test_a_token_is_cut_out_in_whatever_spelling_it_stands(inside: Post) -> None:
    token = await inside.here.asked()
    spelt = "".join(f"\\u{ord(char):04x}" for char in token)
    body = f'{{"meta": {{"token": "{spelt}"}}, "n": 12345678901234567890.10, "quote": "\\"{token}\\\\"}}'

    assert (await inside.deliver("github", body)).status_code == 200
    settled: Any = (await inside.here.engine.promises.get("ask.1:1")).value.data
    assert settled["body"] == f'{{"meta": {{"token": "{CUT}"}}, "n": 12345678901234567890.10, "quote": "\\"{CUT}\\\\"}}'


@pytest.mark.parametrize("name", SIGNED)
async def test_the_same_bytes_again_are_a_duplicate(post: Post, name: str) -> None:
    token = await post.here.asked()
    moment = int(time.time())
    first = await post.deliver(name, {"a": 1}, token=token, moment=moment)
    again = await post.deliver(name, {"a": 1}, token=token, moment=moment)

    assert again.status_code == 200
    assert again.json() == first.json() | {"duplicate": True}


@pytest.mark.parametrize("name", SIGNED)
async def test_a_senders_own_retry_at_another_time_is_a_duplicate(post: Post, name: str) -> None:
    token = await post.here.asked()
    await post.deliver(name, {"a": 1}, token=token)

    assert (await post.deliver(name, {"a": 1}, token=token, moment=int(time.time()) - 60)).json()["duplicate"] is True


async def test_of_a_hundred_equal_deliveries_at_once_one_is_applied(post: Post) -> None:
    token = await post.here.asked()
    answers = await asyncio.gather(*(post.deliver("github", {"n": 1}, token=token) for _ in range(100)))

    assert [answer.json()["duplicate"] for answer in answers].count(False) == 1
    assert {answer.status_code for answer in answers} == {200}


async def test_of_a_hundred_different_deliveries_at_once_one_is_applied(post: Post) -> None:
    token = await post.here.asked()
    answers = await asyncio.gather(*(post.deliver("github", {"n": n}, token=token) for n in range(100)))

    (applied,) = (n for n, answer in enumerate(answers) if answer.json()["state"] == "settled")
    assert {answer.status_code for answer in answers} == {200}
    assert (await post.here.ended())["result"]["value"] == {"n": applied}


async def test_a_delivery_is_settled_before_it_is_acknowledged(post: Post) -> None:
    token = await post.here.asked()

    assert (await post.deliver("stripe", 1, token=token)).status_code == 200
    assert not await untouched(post)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.exit, ("a payload was unpickled",))


async def test_a_pickle_in_a_delivery_is_plain_data_to_the_workflow(post: Post) -> None:
    payload = base64.b64encode(pickle.dumps(Bomb())).decode()
    body = {"__type": "error", "message": "x", "__py_pickle": payload}
    token = await post.here.asked()

    assert (await post.deliver("github", body, token=token)).status_code == 200
    assert (await post.here.ended())["result"]["value"] == body


# -- waits that are over ------------------------------------------------------


async def test_a_delivery_for_a_wait_that_is_over_is_taken_and_changes_nothing(post: Post) -> None:
    token = await post.here.asked()
    outcome = Outcome(kind="succeeded", callback="answer", by="callback", body="1")
    await resolve(post.here.engine.promises, "ask.1:1", ikey="k", outcome=outcome)

    answer = await post.deliver("github", 2, token=token)
    assert (answer.status_code, answer.json()) == (200, {"state": "over", "callback": "answer"})
    assert (await post.here.ended())["result"]["value"] == 1


async def test_a_delivery_after_the_deadline_is_taken(post: Post) -> None:
    token = await post.here.asked(deadline=1)
    await post.here.ended()

    answer = await post.deliver("github", 2, token=token)
    assert (answer.status_code, answer.json()["state"]) == (200, "over")


async def test_a_token_that_has_expired_settles_nothing(post: Post) -> None:
    links = minted(post.here)
    claims = links.signer.verify(await post.here.asked(), audience="machine")

    for promise_id in ("ask.1:1", "ask.never:1"):
        expired = links.signer.mint(replace(claims, promise_id=promise_id, expires_at=1))
        answer = await post.deliver("github", 2, token=expired)
        assert (answer.status_code, answer.json()["state"]) == (200, "over")

    assert await untouched(post)


async def test_a_wait_that_the_engine_does_not_hold_is_asked_for_again(post: Post) -> None:
    links = minted(post.here)
    claims = links.signer.verify(await post.here.asked(), audience="machine")
    token = links.signer.mint(replace(claims, promise_id="ask.never:1"))

    answer = await post.deliver("github", 2, token=token)
    problem(answer, 503, "engine-unavailable")
    assert int(answer.headers["retry-after"]) > 0


# -- replays ------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNED)
async def test_a_captured_delivery_does_not_answer_another_wait(post: Post, name: str) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")
    headers = post.known[name].sign("{}")

    assert (await post.send(name, "{}", headers, token=first)).json()["state"] == "settled"
    for _ in range(2):
        replayed = await post.send(name, "{}", headers, token=second)
        assert (replayed.status_code, replayed.json()["state"]) == (200, "over")

    assert await untouched(post, "2")


@pytest.mark.parametrize("name", SIGNED)
async def test_a_captured_delivery_at_another_source_is_refused(post: Post, name: str) -> None:
    token = await post.here.asked()
    headers = post.known[name].sign("{}")

    for other in {*SIGNED, "databricks"} - {name}:
        problem(await post.send(other, "{}", headers, token=token), 401, "invalid-signature")

    assert await untouched(post)


@pytest.mark.parametrize("name", BODY_ONLY)
async def test_new_unsigned_ids_do_not_make_a_body_a_new_delivery(post: Post, name: str) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")

    for n, token in enumerate((first, first, second)):
        ids = {"X-GitHub-Delivery": str(n), "X-Shopify-Webhook-Id": str(n), "Idempotency-Key": str(n)}
        answer = await post.deliver(name, {"same": 1}, token=token, more=ids)
        assert (answer.status_code, answer.json()["state"]) == (200, ["settled", "settled", "over"][n])

    assert await untouched(post, "2")


async def test_a_body_is_bound_for_good_where_no_time_is_signed_and_in_every_process(post: Post) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")
    await post.deliver("github", {"same": 1}, token=first)
    await post.here.ended("1")
    key = hashlib.sha256(b"." + json.dumps({"same": 1}).encode()).hexdigest()
    record = await post.here.engine.promises.get(f"countersign~delivery.github.{key}")

    assert record.state == "pending"
    assert record.timeout_at > (time.time() + 50 * 365 * 86400) * 1000
    assert first not in repr(record)
    assert (await post.deliver("github", {"same": 1}, token=second)).json()["state"] == "over"


async def test_of_one_body_for_a_hundred_waits_at_once_one_is_settled(post: Post) -> None:
    tokens = [await post.here.asked(str(n)) for n in range(20)]
    answers = await asyncio.gather(*(post.deliver("github", {"same": 1}, token=token) for token in tokens))

    assert sorted(answer.json()["state"] for answer in answers) == ["over"] * 19 + ["settled"]


@pytest.mark.parametrize("name", ["stripe", "slack", "timed"])
async def test_equal_bodies_signed_at_different_times_are_different_deliveries(post: Post, name: str) -> None:
    first, second = await post.here.asked("1"), await post.here.asked("2")
    now = int(time.time())
    await post.deliver(name, {"same": 1}, token=first, moment=now)

    assert (await post.deliver(name, {"same": 1}, token=second, moment=now - 1)).json()["state"] == "settled"


async def test_a_delivery_that_was_never_wanted_by_its_wait_is_not_bound_to_it(post: Post) -> None:
    over, still_open = await post.here.asked("1", deadline=1), await post.here.asked("2")
    await post.here.ended("1")
    await post.deliver("github", {"same": 1}, token=over)

    assert (await post.deliver("github", {"same": 1}, token=still_open)).json()["state"] == "settled"


async def test_the_identity_in_the_signed_body_tells_deliveries_apart(tmp_path: Path) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, 'id = "id"')) as here:
        post = Post(here, known)
        first, second = await here.asked("1"), await here.asked("2")
        assert (await post.deliver("stripe", {"id": "evt_1", "n": 1}, token=first)).json()["duplicate"] is False

        # Stripe counts its tries in the body.
        assert (await post.deliver("stripe", {"id": "evt_1", "n": 2}, token=first)).json()["duplicate"] is True
        assert (await post.deliver("stripe", {"id": "evt_1", "n": 3}, token=second)).json()["state"] == "over"
        assert (await post.deliver("stripe", {"id": 7}, token=second)).json()["state"] == "settled"
        assert (await here.ended("1"))["result"]["value"] == {"id": "evt_1", "n": 1}


@pytest.mark.parametrize("identity", [None, "", True, 1.5, [], {}, "x" * 1025])
async def test_a_delivery_without_the_identity_it_should_have_is_malformed(tmp_path: Path, identity: object) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, 'id = "id"')) as here:
        post = Post(here, known)
        token = await here.asked()
        problem(await post.deliver("stripe", {"id": identity}, token=token), 400, "malformed-body")
        assert await untouched(post)


# -- signatures ---------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNED)
async def test_without_a_signature_or_with_a_bad_one_nothing_is_looked_into(post: Post, name: str) -> None:
    token = await post.here.asked()
    sender = post.known[name]
    good = sender.sign("{}")
    post.here.engine.promises.get = post.here.engine.promises.resolve = None  # type: ignore[assignment,method-assign]
    alone = [{key: value for key, value in good.items() if key != left_out} for left_out in good]
    spoilt = [good | {key: value[:-1] + ("0" if value[-1] != "0" else "1")} for key, value in good.items()]

    for headers in ({}, *alone, *spoilt):
        answer = await post.send(name, "{}", headers, token=token)
        problem(answer, 401, "invalid-signature")
        assert answer.headers["www-authenticate"] == "Signature"

    problem(await post.send(name, "{} ", good, token=token), 401, "invalid-signature")


@pytest.mark.parametrize("name", SIGNED)
async def test_a_repeated_signature_header_is_malformed_even_if_both_say_the_same(post: Post, name: str) -> None:
    token = await post.here.asked()
    good = post.known[name].sign("{}")

    for repeated in good:
        headers = [*good.items(), (repeated.upper(), good[repeated])]
        problem(await post.send(name, "{}", headers, token=token), 400, "repeated-signature")

    assert await untouched(post)


async def test_a_delivery_with_both_families_of_headers_as_svix_sends_it_settles(post: Post) -> None:
    token = await post.here.asked()
    secret, moment = post.known["standard"].secret, int(time.time())
    both = as_standard(secret, "{}", moment) | as_svix(secret, "{}", moment)

    assert (await post.send("standard", "{}", both, token=token)).json()["duplicate"] is False
    # The other family may be left out when the sender tries again.
    assert (await post.send("standard", "{}", as_svix(secret, "{}", moment), token=token)).json()["duplicate"] is True


@pytest.mark.parametrize("changed", ["id", "moment", "secret"])
@pytest.mark.parametrize("family", ["webhook", "svix"])
async def test_both_families_of_headers_that_differ_are_refused(post: Post, family: str, changed: str) -> None:
    token = await post.here.asked()
    good, moment = post.known["standard"].secret, int(time.time())
    sign, other = (as_standard, as_svix) if family == "webhook" else (as_svix, as_standard)
    wrong = sign(
        post.known["svix"].secret if changed == "secret" else good,
        "{}",
        moment - 7 if changed == "moment" else moment,
        "msg_2" if changed == "id" else "msg_1",
    )

    answer = await post.send("standard", "{}", wrong | other(good, "{}", moment), token=token)
    problem(answer, 400, "repeated-signature")
    assert await untouched(post)


@pytest.mark.parametrize("name", TIMED)
async def test_a_timestamp_too_far_away_either_way_is_refused(post: Post, name: str) -> None:
    token = await post.here.asked()

    for moment in (-302, 303, -86400, 86400):
        answer = await post.deliver(name, {}, token=token, moment=int(time.time()) + moment)
        problem(answer, 401, "invalid-signature")

    assert await untouched(post)


@pytest.mark.parametrize("name", SIGNED)
async def test_hostile_bytes_are_refused_and_never_a_crash(post: Post, name: str) -> None:
    good = post.known[name].sign("{}")
    hostile = [
        b"",
        b"\xff\xfe",
        b"a" * 3000,
        b"=,=,",
        b"t=1,v1=",
        b"v1,",
        b"0" * 2000,
        b"\xc3\xa9",
        b"sha256=\xe9",
        b"v0=",
    ]

    for key in good:
        for value in hostile:
            answer = await post.send(name, b"{}", {**good, key: value}, token="x")
            problem(answer, 401, "invalid-signature")

    for body in (b"", b"\xff", b"\x00" * 100, b"[" * 60_000):
        problem(await post.send(name, body, good, token="x"), 401, "invalid-signature")


def _stripe_as_standard(secret: str, body: str) -> dict[str, str]:
    return as_standard(secret, body, int(time.time()))


async def test_stripe_and_standard_keys_are_never_taken_for_one_another(tmp_path: Path) -> None:
    # A secret that is both: base64 of 24 bytes after the prefix.
    known = senders()
    looks_alike = known["standard"].secret
    known["stripe"] = replace(known["stripe"], secret=looks_alike)
    known["standard"] = replace(known["standard"], secret=senders()["standard"].secret)

    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known)) as here:
        post = Post(here, known)
        token = await here.asked()
        decoded = base64.b64decode(looks_alike.removeprefix("whsec_")).decode("latin-1")
        raw = base64.b64encode(known["standard"].secret.encode()).decode()

        for bad in (decoded, looks_alike.removeprefix("whsec_")):
            answer = await post.deliver("stripe", {}, token=token, secret=bad)
            problem(answer, 401, "invalid-signature")

        problem(await post.deliver("standard", {}, token=token, secret=raw), 401, "invalid-signature")
        problem(
            await post.send("stripe", "{}", _stripe_as_standard(looks_alike, "{}"), token=token),
            401,
            "invalid-signature",
        )
        assert (await post.deliver("stripe", {}, token=token)).status_code == 200


async def test_each_secret_of_a_rotation_is_taken(tmp_path: Path) -> None:
    known = senders()
    old, new = secrets.token_hex(20), secrets.token_hex(20)
    (tmp_path / "old").write_text(old)
    (tmp_path / "new").write_text(new)
    (tmp_path / "s.toml").write_text('[sources.hub]\nscheme = "github"\nsecrets = ["file:old", "file:new"]\n')

    async with edge(tmp_path, SOURCES="s.toml") as here:
        post = Post(here, known)
        for n, secret in enumerate((old, new)):
            token = await here.asked(str(n))
            answer = await post.send("hub", str(n), as_github(secret, str(n), 0), token=token)
            assert answer.json()["state"] == "settled"


# -- bodies and tokens --------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    ["", " ", "{", "nope", "1 2", '{"a": 1, "a": 1}', "NaN", "-1e999", '"\\ud800"', "[" * 10_000 + "]" * 10_000],
)
async def test_a_signed_body_that_is_not_strict_json_is_malformed(post: Post, content: str) -> None:
    token = await post.here.asked()

    for name in ("standard", "github", "slack"):
        problem(await post.deliver(name, content, token=token), 400, "malformed-body")

    assert await untouched(post)


def signed_bytes(sender: Sender, body: bytes) -> dict[str, str]:
    """Sign bytes that the senders' own libraries would not."""
    now = str(int(time.time()))

    match sender.scheme:
        case "standard":
            key = base64.b64decode(sender.secret.removeprefix("whsec_"))
            digest = hmac.digest(key, b"msg_1." + now.encode() + b"." + body, "sha256")
            signature = f"v1,{base64.b64encode(digest).decode()}"
            return {"webhook-id": "msg_1", "webhook-timestamp": now, "webhook-signature": signature}
        case "stripe":
            digest = hmac.digest(sender.secret.encode(), now.encode() + b"." + body, "sha256")
            return {"Stripe-Signature": f"t={now},v1={digest.hex()}"}
        case "slack":
            digest = hmac.digest(sender.secret.encode(), b"v0:" + now.encode() + b":" + body, "sha256")
            return {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={digest.hex()}"}
        case _:
            digest = hmac.digest(sender.secret.encode(), body, "sha256")
            return {"X-Hub-Signature-256": f"sha256={digest.hex()}"}


@pytest.mark.parametrize("name", ["standard", "stripe", "slack", "github"])
@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b'{"a": "\xe9"}', b'{"a": "\xed\xa0\x80"}', b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'.encode("utf-16")],
)
async def test_a_signed_body_that_is_not_utf_8_is_malformed_and_an_unsigned_one_unauthorised(
    post: Post, name: str, body: bytes
) -> None:
    token = await post.here.asked()
    headers = signed_bytes(post.known[name], body)

    problem(await post.send(name, body, headers, token=token), 400, "malformed-body")
    problem(await post.send(name, body + b" ", headers, token=token), 401, "invalid-signature")
    assert await untouched(post)
    assert 'outcome="refused"} 1.0' in (await post.here.client.get("/metrics", headers=AUTHORISED)).text


async def test_a_token_in_a_key_whose_cut_repeats_a_key_is_refused_and_nothing_unreadable_is_stored(
    inside: Post,
) -> None:
    token = await inside.here.asked()
    escaped = "".join(f"\\u{ord(char):04x}" for char in token)

    for keys in (
        f'"{token}": 1, "{CUT}": 2',
        f'"{CUT}": 1, "{escaped}": 2',
        f'"nested": [{{"x{token}y": 1, "x{CUT}y": 2}}]',
        f'"deep": {{"{token}{token}": 1, "{token}{CUT}": 2}}',
    ):
        body = f'{{"meta": {{"token": "{token}"}}, {keys}}}'
        problem(await inside.deliver("github", body), 400, "malformed-body")

    assert await untouched(inside)
    assert (await inside.deliver("github", {"meta": {"token": token}, token: 1})).json()["state"] == "settled"
    assert (await inside.here.ended())["result"]["value"] == {"meta": {"token": CUT}, CUT: 1}


async def test_a_token_in_the_path_is_cut_out_of_the_body_as_well(post: Post) -> None:
    token = await post.here.asked()
    problem(await post.deliver("github", {token: 1, CUT: 2}, token=token), 400, "malformed-body")

    assert (await post.deliver("github", {token: [f"{token}{token}"]}, token=token)).json()["state"] == "settled"
    assert (await post.here.ended())["result"]["value"] == {CUT: [f"{CUT}{CUT}"]}


async def test_a_token_that_the_expression_joins_from_parts_cannot_be_cut_out_and_is_refused(tmp_path: Path) -> None:
    known = senders()
    lines = "token = \"join('', [meta.head, meta.tail])\""
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        post = Post(here, known)
        token = await here.asked()
        problem(await post.deliver("github", {"meta": {"head": token[:20], "tail": token[20:]}}), 400, "bad-token")
        assert await untouched(post)

        assert (await post.deliver("github", {"meta": {"head": token, "tail": ""}})).json()["state"] == "settled"


async def test_a_form_of_githubs_is_told_to_choose_json_once_its_signature_holds(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    token = await post.here.asked()
    form = urlencode({"payload": json.dumps({"action": "opened"})})
    problem(await post.send("github", form, post.known["github"].sign("{}"), token=token), 401, "invalid-signature")
    assert not any("application/json" in record.getMessage() for record in caplog.records)

    as_form = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = problem(await post.deliver("github", form, token=token, more=as_form), 400, "malformed-body")
    assert "choose application/json" in refused["detail"]
    assert any("github" in line and "choose application/json" in line for line in caplog.messages)
    assert "opened" not in caplog.text
    assert await untouched(post)


@pytest.mark.parametrize("place", ["post", "inside"])
async def test_a_signed_delivery_with_a_bad_token_is_told_so(
    place: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    known = senders()
    lines = IN_BODY if place == "inside" else ""
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        post = Post(here, known)
        links = minted(here)
        token = await here.asked()
        claims = links.signer.verify(token, audience="machine")
        bad: list[Callable[[], str]] = [
            lambda: token[:-1],
            lambda: "nonsense",
            lambda: "ask.1:1",
            lambda: "A" * 5000,
            lambda: TokenSigner([Secret(secrets.token_bytes(32))]).mint(claims),
            lambda: links.signer.mint(replace(claims, audience="approver")),
            lambda: links.signer.mint(replace(claims, promise_id="ask.1")),
            lambda: links.signer.mint(replace(claims, outcomes=("failed",))),
        ]

        for make in bad:
            body: object = {"meta": {"token": make()}} if place == "inside" else {}
            answer = await post.deliver("github", body, token=None if place == "inside" else make())
            problem(answer, 400, "bad-token")

        without: list[object] = [{}, {"meta": 1}, {"meta": {"token": 1}}, {"meta": {"token": [token]}}, [], None]
        for nothing in without:
            problem(await post.deliver("github", nothing), 400, "bad-token")

        assert await untouched(post)


async def test_a_token_in_the_path_where_it_should_stand_in_the_body_is_refused(inside: Post) -> None:
    token = await inside.here.asked()

    problem(await inside.deliver("github", {"meta": {"token": token}}, token=token), 400, "two-tokens")
    assert await untouched(inside)


async def test_a_foreign_source_is_not_found(post: Post) -> None:
    for path in ("/webhooks/nobody", "/webhooks/nobody/x", "/webhooks/GitHub"):
        problem(await post.here.client.post(path, content="{}"), 404, "unknown-source")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_another_method_is_refused(post: Post, method: str) -> None:
    answer = await post.here.client.request(method, "/webhooks/github")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_body_over_the_limit_is_refused(post: Post) -> None:
    token = await post.here.asked()

    problem(await post.deliver("github", "1" * 65_537, token=token), 413, "too-large")
    assert await untouched(post)


# -- events and challenges ----------------------------------------------------


async def test_events_that_are_not_wanted_are_acknowledged_and_change_nothing(tmp_path: Path) -> None:
    known = senders()
    lines = 'event = "type"\nevents = ["invoice.paid"]'
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        post = Post(here, known)
        token = await here.asked()

        others: list[object] = [{"type": "invoice.sent"}, {"type": None}, {"type": ["invoice.paid"]}, {}, [], 1]
        for body in others:
            answer = await post.deliver("stripe", body, token=token, more={"X-GitHub-Event": "invoice.paid"})
            assert (answer.status_code, answer.json()) == (200, {"state": "ignored"})

        assert await untouched(post)
        assert (await post.deliver("stripe", {"type": "invoice.paid"}, token=token)).json()["state"] == "settled"


async def test_a_signed_challenge_of_slacks_is_answered_and_an_unsigned_one_echoes_nothing(post: Post) -> None:
    challenge = secrets.token_urlsafe(39)
    body = json.dumps({"type": "url_verification", "challenge": challenge})

    unsigned = await post.send("slack", body, {})
    problem(unsigned, 401, "invalid-signature")
    assert challenge not in unsigned.text
    assert (await post.deliver("slack", body)).json() == {"challenge": challenge}
    assert challenge not in (await post.deliver("github", body)).text


async def test_a_form_of_slacks_is_read_by_its_signed_bytes(inside: Post) -> None:
    first, second = await inside.here.asked("1"), await inside.here.asked("2")
    as_json = {"Content-Type": "application/json"}
    button = urlencode({"payload": json.dumps({"meta": {"token": first}, "user": "U1"})})

    assert (await inside.deliver("slack", button, more=as_json)).json()["state"] == "settled"
    assert (await inside.here.ended("1"))["result"]["value"] == {"meta": {"token": CUT}, "user": "U1"}

    for form in ("a=1&a=2", "a", "payload={", "payload=1&payload=2", "&".join(f"a{n}=1" for n in range(200)), "a=%ff"):
        problem(await inside.deliver("slack", form), 400, "malformed-body")

    problem(await inside.deliver("github", urlencode({"meta": second})), 400, "malformed-body")
    problem(await inside.deliver("slack", urlencode({"command": "/go", "text": ""})), 400, "bad-token")


# -- starting workflows -------------------------------------------------------


@pytest.mark.parametrize("name", SIGNED)
async def test_a_delivery_starts_its_workflow_once(starting: Post, name: str) -> None:
    body = {"question": {"name": "paid"}, "more": 1}
    first = await starting.deliver(name, body)
    again = await starting.deliver(name, body, moment=int(time.time()) - 5)

    document = first.json()
    assert (first.status_code, again.status_code) == (200, 200)
    assert (document["workflow"], document["created"]) == ("ask", True)
    assert re.fullmatch(rf"{name}-[0-9a-f]{{32}}", document["id"])
    assert again.json() == document | {"created": False}

    shown = await starting.here.client.get(f"/workflows/ask/{document['id']}", headers=AUTHORISED)
    assert shown.json()["state"] == "running"


async def test_the_id_of_a_started_workflow_is_made_of_the_delivery_id(tmp_path: Path) -> None:
    known = senders()
    lines = 'workflow = "ask"\ninput = "question"\nid = "id"'
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        post = Post(here, known)
        answer = await post.deliver("stripe", {"id": "evt_1", "question": {}})
        digest = hashlib.sha256(b"evt_1").hexdigest()[:32]

        assert answer.json() == {"workflow": "ask", "id": f"stripe-{digest}", "created": True}
        assert (await post.deliver("stripe", {"id": "evt_1", "question": {"name": "b"}})).json()["created"] is False
        assert (await post.deliver("github", {"id": "evt_1", "question": {}})).json()["created"] is True


async def test_the_signed_id_names_the_delivery_where_the_scheme_has_one(starting: Post) -> None:
    answer = await starting.deliver("standard", {"question": {}})

    assert answer.json()["id"] == f"standard-{hashlib.sha256(b'msg_1').hexdigest()[:32]}"


async def test_the_whole_body_is_the_input_unless_the_source_says_otherwise(tmp_path: Path) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, 'workflow = "ask"')) as here:
        post = Post(here, known)
        answer = await post.deliver("github", {"name": "whole"})
        await here.token(answer.json()["id"])

        record = await here.engine.promises.get(f"ask.{answer.json()['id']}:1")
        assert record.tags["countersign:callback"] == "whole"


@pytest.mark.parametrize("question", [None, [], "x", 1, {"deadline": "soon"}, {"surprise": 1}])
async def test_an_input_that_does_not_fit_is_malformed_and_starts_nothing(starting: Post, question: object) -> None:
    refused = problem(await starting.deliver("github", {"question": question}), 400, "malformed-body")

    assert "soon" not in json.dumps(refused)
    assert (await starting.deliver("github", {"question": {}})).json()["created"] is True


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("{name: 'x', more: @}", '{"a": ' + "[" * 63 + "]" * 63 + "}"),
        ("{deadline: to_number(a)}", '{"a": "' + "9" * 400 + '"}'),
        ('{name: `\\"\\\\ud800\\"`}', "{}"),
    ],
    ids=["nested too deeply", "an absurd integer", "a lone surrogate"],
)
async def test_an_input_that_nobody_could_read_again_is_malformed(tmp_path: Path, expression: str, value: str) -> None:
    known = senders()
    lines = f'workflow = "note"\ninput = "{expression}"'
    async with edge(tmp_path, workflows=[note], SOURCES=sources_file(tmp_path, known, lines)) as here:
        problem(await Post(here, known).deliver("github", value), 400, "malformed-body")


@pytest.mark.parametrize("expression", ["{deadline: sum(a)}", "{deadline: to_number(b)}", "not_null(&a)", "length(c)"])
async def test_an_input_that_is_no_json_is_malformed(tmp_path: Path, expression: str) -> None:
    known = senders()
    lines = f'workflow = "ask"\ninput = "{expression}"'
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines)) as here:
        body = {"a": [1e308, 1e308], "b": "1e999", "c": 1}
        problem(await Post(here, known).deliver("github", body), 400, "malformed-body")


async def test_a_source_that_starts_workflows_takes_no_token(starting: Post) -> None:
    token = await starting.here.asked()

    problem(await starting.deliver("github", {"question": {}}, token=token), 400, "bad-token")
    assert await untouched(starting)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("name", ["github", "shopify", "own", "standard"])
async def test_a_captured_delivery_starts_nothing_once_the_engine_has_forgotten_its_workflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    forgetful = partial(EmbeddedConnection, retention=timedelta(milliseconds=50))
    monkeypatch.setattr(connecting, "EmbeddedConnection", forgetful)
    url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/engine.db"
    known = senders()
    sources = sources_file(tmp_path, known, 'workflow = "note"')

    async with edge(tmp_path, url, workflows=[note], SOURCES=sources) as here:
        post = Post(here, known)
        first = (await post.deliver(name, {"name": 1})).json()
        assert first["created"] is True
        await forgotten(here, first["id"])

        for _ in range(2):
            again = await post.deliver(name, {"name": 1})
            assert (again.status_code, again.json()) == (200, first | {"created": False})

        shown = await here.client.get(f"/workflows/note/{first['id']}", headers=AUTHORISED)
        problem(shown, 404, "unknown-id")
        assert len(here.engine.resonate._network.state.promises) < 5  # type: ignore[attr-defined]

    if kind == "sqlite":
        async with edge(tmp_path, url, workflows=[note], SOURCES=sources) as here:
            assert (await Post(here, known).deliver(name, {"name": 1})).json() == first | {"created": False}


async def forgotten(here: Edge, workflow_id: str) -> None:
    """Return once the engine has dropped a workflow."""
    for _ in range(1500):
        shown = await here.client.get(f"/workflows/note/{workflow_id}", headers=AUTHORISED)

        if shown.status_code == 404:
            return

        await pause(0.02)

    pytest.fail("the workflow is still there")


# -- the engine away ----------------------------------------------------------


@pytest.mark.parametrize("lines", ["", IN_BODY])
async def test_while_the_engine_is_away_senders_are_told_to_come_back_and_the_retry_settles(
    tmp_path: Path, lines: str
) -> None:
    known = senders()
    async with edge(tmp_path, SOURCES=sources_file(tmp_path, known, lines), ENGINE_TIMEOUT="1") as here:
        post = Post(here, known)
        token = await here.asked()
        in_path = None if lines else token
        body = {"meta": {"token": token}}
        transport = here.engine.resonate.promises.sender.transport
        send = transport.send

        for calls in range(3):
            transport.send = failing_after(send, calls)  # type: ignore[method-assign]
            answer = await post.deliver("stripe", body, token=in_path)

            if calls < 2 + (not lines):
                problem(answer, 503, "engine-unavailable")
                assert int(answer.headers["retry-after"]) > 0

        transport.send = send  # type: ignore[method-assign]
        assert (await post.deliver("stripe", body, token=in_path)).json()["state"] == "settled"
        assert (await here.ended())["result"]["by"] == "webhook"


def failing_after(send: Any, calls: int) -> Any:
    """Return a transport that answers so many requests, then is silent; the workers' own requests count too."""
    left = calls

    async def sending(*request: Any) -> Any:
        nonlocal left
        left -= 1

        if left < 0:
            await pause(3600)

        return await send(*request)

    return sending


# -- what is said of it -------------------------------------------------------


async def test_no_log_line_holds_a_token_a_secret_or_a_body(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    first, second = await post.here.asked("1"), await post.here.asked("2")

    for token in (first, first, second):
        await post.deliver("github", {"marker": "body-of-it"}, token=token)

    await post.send("github", "body-of-it", {"X-Hub-Signature-256": "marker-of-a-signature"}, token=first)
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("receiver"))

    assert "that answered another wait came again for ask.2:1" in text
    assert "was refused" in text
    assert not any(one in text for one in (first, second, post.known["github"].secret, "body-of-it", "marker-of"))


async def test_deliveries_are_counted_by_what_became_of_them(post: Post) -> None:
    token = await post.here.asked()
    await post.deliver("github", 1, token=token)
    await post.deliver("github", 1, token=token)
    await post.send("github", "1", {}, token=token)
    text = (await post.here.client.get("/metrics", headers=AUTHORISED)).text

    for outcome, count in (("settled", 1), ("duplicate", 1), ("refused", 1), ("over", 0)):
        assert f'countersign_webhooks_total{{outcome="{outcome}"}} {count}.0' in text
