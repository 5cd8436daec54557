"""The signed body of a delivery: strict JSON, or a form from Slack, stored without its token."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from support.edge import AUTHORISED, edge, problem, untouched
from support.posting import Post
from support.senders import Sender, senders, sources_file

from receiver.senders.deliveries import CUT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "content",
    ["", " ", "{", "nope", "1 2", '{"a": 1, "a": 1}', "NaN", "-1e999", '"\\ud800"', "[" * 10_000 + "]" * 10_000],
)
async def test_a_signed_body_that_is_not_strict_json_is_malformed(post: Post, content: str) -> None:
    token = await post.here.asked()

    for name in ("standard", "github", "slack"):
        problem(await post.deliver(name, content, token=token), 400, "malformed-body")

    assert await untouched(post.here)


def signed_bytes(sender: Sender, body: bytes) -> dict[str, str]:
    """Sign bytes that the senders' own libraries refuse to sign."""
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
    assert await untouched(post.here)
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

    assert await untouched(inside.here)
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
        assert await untouched(post.here)

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
    assert await untouched(post.here)


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

        assert await untouched(post.here)
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
