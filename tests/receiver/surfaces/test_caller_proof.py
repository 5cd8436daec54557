"""The caller's proof: a second factor that is valid for one report of one kind under one token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from standardwebhooks import Webhook
from support.edge import Edge, edge, problem

from orchestrator.config.secret import Secret
from receiver.senders.schemes.scheme import SignatureRefused
from receiver.surfaces.caller_proof import verify_proof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

JSON = {"Content-Type": "application/json"}
NONCE = "0123456789abcdef"
PATHS = {"succeeded": "/callbacks", "failed": "/callbacks/failure"}


def whsec() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> Secret:
    return Secret(base64.b64decode(secret.removeprefix("whsec_")))


OLD, SECRET = whsec(), whsec()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path, CALLER_SECRETS=f"{OLD},{SECRET}") as one:
        yield one


def named(kind: str, token: str, nonce: str = NONCE) -> str:
    """Return the `webhook-id` of this report, as the contract defines it."""
    return f"{kind}_{hashlib.sha256(token.encode()).hexdigest()[:32]}_{nonce}"


def signed(identity: str, body: str, *, secret: str = SECRET, at: float = 0, family: str = "webhook") -> dict[str, str]:
    """Return the headers that the official library signs, `at` seconds from now."""
    moment = datetime.now(UTC) + timedelta(seconds=at)
    return {
        f"{family}-id": identity,
        f"{family}-timestamp": str(int(moment.timestamp())),
        f"{family}-signature": Webhook(secret).sign(identity, moment, body),
    }


async def report(
    here: Edge, token: str, headers: Any, body: str | bytes, *, kind: str = "succeeded"
) -> httpx2.Response:
    given = [*JSON.items(), ("Authorization", f"Bearer {token}")]
    given += list(headers.items()) if isinstance(headers, dict) else headers

    return await here.client.post(PATHS[kind], content=body, headers=given)


async def untouched(here: Edge, workflow_id: str = "1") -> bool:
    return (await here.engine.promises.get(f"ask.{workflow_id}:1")).state == "pending"


# -- taken ---------------------------------------------------------------------


@pytest.mark.parametrize("place", ["header", "path"])
@pytest.mark.parametrize("secret", [OLD, SECRET], ids=["the old secret", "the new one"])
async def test_a_report_that_is_signed_for_this_token_and_kind_settles(here: Edge, place: str, secret: str) -> None:
    token = await here.asked()
    headers = signed(named("succeeded", token), '{"a":1}', secret=secret)

    if place == "header":
        answer = await report(here, token, headers, '{"a":1}')
    else:
        answer = await here.client.post(f"/callbacks/{token}", content='{"a":1}', headers=headers | JSON)

    assert answer.status_code == 200
    assert (await here.ended())["result"]["value"] == {"a": 1}


@pytest.mark.parametrize("place", ["header", "path"])
async def test_a_failure_that_is_signed_as_one_settles(here: Edge, place: str) -> None:
    token, body = await here.asked(), '{"message":"no"}'
    headers = signed(named("failed", token), body)

    if place == "header":
        answer = await report(here, token, headers, body, kind="failed")
    else:
        answer = await here.client.post(f"/callbacks/{token}/failure", content=body, headers=headers | JSON)

    assert answer.status_code == 200
    assert (await here.ended())["result"]["kind"] == "failed"


@pytest.mark.parametrize("nonce", ["_" * 16, "-" * 64, "a_b-c_d-e_f-g_h-i", NONCE])
async def test_a_nonce_is_16_to_64_of_its_alphabet(here: Edge, nonce: str) -> None:
    token = await here.asked()

    assert (await report(here, token, signed(named("succeeded", token, nonce), "1"), "1")).status_code == 200


async def test_the_same_report_under_a_fresh_proof_is_a_duplicate(here: Edge) -> None:
    token = await here.asked()

    for nonce, duplicate in ((NONCE, False), (NONCE, True), (NONCE[::-1], True)):
        answer = await report(here, token, signed(named("succeeded", token, nonce), "1"), "1")
        assert answer.json()["duplicate"] is duplicate


async def test_looking_needs_no_proof(here: Edge) -> None:
    assert (await here.client.get(f"/callbacks/{await here.asked()}")).json()["state"] == "pending"


# -- for something else --------------------------------------------------------


async def test_a_signed_report_for_one_wait_settles_no_other(here: Edge) -> None:
    first, second = await here.asked("1"), await here.asked("2")
    headers = signed(named("succeeded", first), '{"rows":3}')

    problem(await report(here, second, headers, '{"rows":3}'), 401, "invalid-proof")
    assert await untouched(here, "2")
    assert (await report(here, first, headers, '{"rows":3}')).status_code == 200


async def test_a_signed_failure_is_no_success_and_the_reverse(here: Edge) -> None:
    token, body = await here.asked(), '{"message":"no"}'

    for kind, other in (("failed", "succeeded"), ("succeeded", "failed")):
        headers = signed(named(kind, token), body)
        problem(await report(here, token, headers, body, kind=other), 401, "invalid-proof")

    assert await untouched(here)


async def test_a_signed_report_proves_no_other_body(here: Edge) -> None:
    token = await here.asked()
    headers = signed(named("succeeded", token), "1")

    for other in ("2", "1 ", "1.0", '"1"'):
        problem(await report(here, token, headers, other), 401, "invalid-proof")

    assert await untouched(here)


@pytest.mark.parametrize(
    "spell",
    [
        lambda token: "msg_1",
        lambda token: named("died", token),
        lambda token: named("Succeeded", token),
        lambda token: named("succeeded", token).replace("_", "-"),
        lambda token: named("succeeded", token, ""),
        lambda token: named("succeeded", token, "a" * 15),
        lambda token: named("succeeded", token, "a" * 65),
        lambda token: named("succeeded", token, "a" * 15 + "~"),
        lambda token: named("succeeded", token).upper().replace("SUCCEEDED", "succeeded"),
        lambda token: named("succeeded", "").replace(hashlib.sha256(b"").hexdigest()[:32], ""),
        lambda token: f"succeeded_{hashlib.sha256(token.encode()).hexdigest()}_{NONCE}",
        lambda token: f"succeeded_{hashlib.sha256(token.encode()).hexdigest()[32:]}_{NONCE}",
        lambda token: f"succeeded_{hashlib.sha256(token.partition('.')[0].encode()).hexdigest()[:32]}_{NONCE}",
        lambda token: f"succeeded__{hashlib.sha256(token.encode()).hexdigest()[:32]}_{NONCE}",
        lambda token: f" {named('succeeded', token)}",
    ],
)
async def test_an_id_that_does_not_say_what_it_is_for_proves_nothing(here: Edge, spell: Callable[[str], str]) -> None:
    token = await here.asked()

    problem(await report(here, token, signed(spell(token), "1"), "1"), 401, "invalid-proof")
    assert await untouched(here)


# -- not signed, not now, not once ---------------------------------------------


async def test_the_token_alone_settles_nothing(here: Edge) -> None:
    token = await here.asked()

    problem(await report(here, token, {}, "1"), 401, "invalid-proof")
    problem(
        await report(here, token, signed(named("succeeded", token), "1", secret=whsec()), "1"), 401, "invalid-proof"
    )
    assert await untouched(here)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_all_three_headers_are_needed_each_once(here: Edge, missing: str) -> None:
    token = await here.asked()
    headers = signed(named("succeeded", token), "1")
    without = {name: value for name, value in headers.items() if name != missing}

    problem(await report(here, token, without, "1"), 401, "invalid-proof")

    for twice in (headers[missing], "x"):
        problem(await report(here, token, [*headers.items(), (missing.upper(), twice)], "1"), 401, "invalid-proof")

    assert await untouched(here)


async def test_the_other_family_of_headers_is_not_looked_at(here: Edge) -> None:
    token = await here.asked()
    own, svix = (signed(named("succeeded", token), "1", family=family) for family in ("webhook", "svix"))

    problem(await report(here, token, svix, "1"), 401, "invalid-proof")

    for name in own:
        mixed = {**own, **svix}
        del mixed[name]
        problem(await report(here, token, mixed, "1"), 401, "invalid-proof")

    assert await untouched(here)
    assert (await report(here, token, own | dict.fromkeys(svix, "x"), "1")).status_code == 200


@pytest.mark.parametrize(("at", "good"), [(-290, True), (290, True), (-320, False), (320, False)])
async def test_a_proof_is_good_for_300_seconds_either_way(here: Edge, at: float, *, good: bool) -> None:
    token = await here.asked()
    answer = await report(here, token, signed(named("succeeded", token), "1", at=at), "1")

    assert answer.status_code == (200 if good else 401)
    assert await untouched(here) is not good


def test_any_one_bit_changed_anywhere_proves_nothing() -> None:
    token, body = "a-token", b'{"rows":3}'
    headers = [(name.encode(), value.encode()) for name, value in signed(named("failed", token), body.decode()).items()]
    admitted = [key_of(SECRET)]
    verify_proof(admitted, headers, body, kind="failed", token=token)

    for place, (name, value) in enumerate(headers):
        for index in range(len(value)):
            changed = list(headers)
            changed[place] = (name, value[:index] + bytes([value[index] ^ 1]) + value[index + 1 :])

            with pytest.raises(SignatureRefused):
                verify_proof(admitted, changed, body, kind="failed", token=token)


# -- in which order ------------------------------------------------------------


async def test_the_proof_is_checked_before_the_body_is_parsed(here: Edge) -> None:
    token = await here.asked()

    for body in (b"{", b"", b"\xff\xfe", b'{"a":1,"a":1}', b"[" * 60_000):
        problem(await report(here, token, {}, body), 401, "invalid-proof")

    assert await untouched(here)


@pytest.mark.parametrize("body", ["{", "", '{"a":1,"a":1}', "NaN"])
async def test_a_body_that_is_proved_and_malformed_is_malformed(here: Edge, body: str) -> None:
    token = await here.asked()

    problem(await report(here, token, signed(named("succeeded", token), body), body), 400, "malformed-body")


async def test_a_body_that_is_proved_and_no_utf_8_is_malformed(here: Edge) -> None:
    token, body = await here.asked(), b'"\xff"'
    identity, sent = named("succeeded", token), str(int(datetime.now(UTC).timestamp()))
    # The official library signs only text, so this signature is made by hand.
    mac = hmac.digest(key_of(SECRET).reveal(), f"{identity}.{sent}.".encode() + body, "sha256")
    digest = base64.b64encode(mac).decode()
    headers = {"webhook-id": identity, "webhook-timestamp": sent, "webhook-signature": f"v1,{digest}"}

    problem(await report(here, token, headers, body), 400, "malformed-body")


async def test_the_token_the_size_and_the_type_are_checked_before_the_proof(here: Edge) -> None:
    token = await here.asked()

    problem(await report(here, "bad", {}, "1"), 401, "invalid-token")
    problem(await report(here, token, {}, "x" * 70_000), 413, "too-large")
    typed = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
    problem(await here.client.post("/callbacks", content="1", headers=typed), 415, "unsupported-media-type")


# -- how often -----------------------------------------------------------------


async def test_a_right_proof_is_taken_however_many_wrong_ones_came_before(here: Edge) -> None:
    token = await here.asked()
    wrong = [(await report(here, token, {}, "1")).status_code for _ in range(61)]
    right = await report(here, token, signed(named("succeeded", token), "1"), "1")

    assert wrong == [401] * 60 + [429]
    assert right.status_code == 200
