"""The signatures of deliveries over HTTP: nothing is parsed before one of them is verified."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.edge import edge, problem, untouched
from support.posting import Post
from support.senders import SIGNED, TIMED, as_github, as_standard, as_svix, senders, sources_file

if TYPE_CHECKING:
    from pathlib import Path


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

    assert await untouched(post.here)


async def test_a_delivery_with_both_families_of_headers_as_svix_sends_it_settles(post: Post) -> None:
    token = await post.here.asked()
    secret, moment = post.known["standard"].secret, int(time.time())
    both = as_standard(secret, "{}", moment) | as_svix(secret, "{}", moment)

    assert (await post.send("standard", "{}", both, token=token)).json()["duplicate"] is False
    # The sender may leave out the other family when it tries again.
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
    assert await untouched(post.here)


@pytest.mark.parametrize("name", TIMED)
async def test_a_timestamp_too_far_away_either_way_is_refused(post: Post, name: str) -> None:
    token = await post.here.asked()

    for moment in (-302, 303, -86400, 86400):
        answer = await post.deliver(name, {}, token=token, moment=int(time.time()) + moment)
        problem(answer, 401, "invalid-signature")

    assert await untouched(post.here)


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
