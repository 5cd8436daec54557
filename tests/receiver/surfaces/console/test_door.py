"""Signing in to the console and out of it: a session is bound to its key, and ends for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.approving import desk, seen
from support.configuration import API_KEY, fresh_key
from support.signing_in import KEYS, Window, key_setting, signed_in

from receiver.surfaces.console.door import usable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conftest import Start
    from support.approving import Desk


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def test_the_console_asks_for_a_key_and_lets_its_holder_in(here: Desk) -> None:
    window = Window(here.app)
    assert "API key" in seen(await window.get())

    answer = await window.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    assert "Overview" in seen(await window.get())


async def test_the_cookie_is_kept_from_scripts_and_other_sites(here: Desk) -> None:
    cookie = (await Window(here.app).sign_in()).headers["set-cookie"]

    assert {"HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert API_KEY not in cookie


async def test_over_https_the_cookie_never_travels_without_tls(tmp_path: Path) -> None:
    async with desk(
        tmp_path, PUBLIC_URL="https://calls.example.org", MAIL="smtps://mail.example.org?from=a@b.org"
    ) as here:
        window = await signed_in(here.app, base_url="https://calls.example.org")
        assert "Overview" in seen(await window.get())

        in_the_clear = await window.client.get("http://calls.example.org/console")
        assert "API key" in seen(in_the_clear)
        assert "cookie" not in in_the_clear.request.headers


@pytest.mark.parametrize("key", ["", "wrong", " ", "é", "\x00", "x" * 900])
async def test_a_wrong_key_is_refused_and_not_shown(here: Desk, key: str) -> None:
    window = Window(here.app)
    answer = await window.sign_in(key)
    text = seen(answer, 401)

    assert "That is not a key of this service." in text
    assert not key.strip() or key not in text
    assert "API key" in seen(await window.get())


async def test_spaces_that_were_copied_with_a_key_do_not_matter(here: Desk) -> None:
    assert (await Window(here.app).sign_in(f" {API_KEY}\r\n")).status_code == 303


async def test_wrong_keys_are_limited_together_with_those_in_headers_and_right_ones_never(here: Desk) -> None:
    window = Window(here.app)

    for _ in range(30):
        assert (await window.sign_in("wrong")).status_code == 401
        assert (await here.client.get("/metrics", headers={"Authorization": "Bearer wrong"})).status_code == 401

    limited = await window.sign_in("wrong")
    assert "Too many wrong keys." in seen(limited, 429)
    assert 1 <= int(limited.headers["retry-after"]) <= 60
    assert (await window.sign_in()).status_code == 303


async def test_no_key_and_no_session_gets_into_the_log(here: Desk, start: Start) -> None:
    log = start("debug")
    window = await signed_in(here.app)
    await window.get()
    await Window(here.app).sign_in("s3cretguess")
    (session,) = window.client.cookies.values()

    assert API_KEY not in log.getvalue()
    assert session not in log.getvalue()
    assert "s3cretguess" not in log.getvalue()
    assert " GET /console 200 " in log.getvalue()
    assert " by=tests " in log.getvalue()


# -- how a session ends -------------------------------------------------------


async def test_signing_out_ends_every_copy_of_the_session_and_no_other_one(here: Desk) -> None:
    window, other = await signed_in(here.app), await signed_in(here.app)
    copy = Window(here.app)
    copy.client.cookies = dict(window.client.cookies)
    assert "Overview" in seen(await copy.get())

    answer = await window.sign_out()

    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    assert not window.client.cookies
    assert "API key" in seen(await window.get())
    assert "API key" in seen(await copy.get())
    assert "Overview" in seen(await other.get())


async def test_a_sign_out_is_kept_for_as_long_as_the_session_could_last(
    here: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = await signed_in(here.app)
    (session,) = window.client.cookies.values()
    create, ends = here.engine.promises.create, []

    async def noticed(promise_id: str, *, timeout_at: int, **more: Any) -> object:
        ends.append(timeout_at)

        return await create(promise_id, timeout_at=timeout_at, **more)

    monkeypatch.setattr(here.engine.promises, "create", noticed)
    await window.sign_out()

    assert ends == [int(session.split("~")[1]) * 1000]


async def test_signing_out_without_a_session_does_no_harm(here: Desk) -> None:
    assert (await Window(here.app).sign_out()).status_code == 303


async def test_a_session_ends_when_its_key_is_withdrawn_and_no_other_key_can_use_it(tmp_path: Path) -> None:
    signing = fresh_key()

    async with desk(tmp_path, SIGNING_KEYS=signing, API_KEYS=key_setting()) as here:
        windows = {name: await signed_in(here.app, key) for name, key in KEYS.items()}

    async with desk(tmp_path, SIGNING_KEYS=signing, API_KEYS=key_setting("admin")) as here:
        for name, window in windows.items():
            again = Window(here.app)
            again.client.cookies = dict(window.client.cookies)
            assert ("Overview" in seen(await again.get())) is (name == "admin")

            renamed = {each: text.replace(f"{name}~", "admin~") for each, text in window.client.cookies.items()}
            again.client.cookies = renamed
            assert ("Overview" in seen(await again.get())) is (name == "admin")


@pytest.mark.parametrize("text", ["", "x", "tests~9999999999~" + "0" * 32 + "~" + "0" * 64, "a" * 10_000])
async def test_a_made_up_session_is_none(here: Desk, text: str) -> None:
    window = Window(here.app)
    answer = await window.get(Cookie=f"countersign-console={text}")

    assert "API key" in seen(answer)
    assert "Max-Age=0" in answer.headers["set-cookie"]


# -- where it leads -----------------------------------------------------------


async def test_after_signing_in_one_gets_to_the_page_that_one_asked_for(here: Desk) -> None:
    await here.ask()
    window = Window(here.app)
    asked = await window.get("/workflows/consult/1?updates=off")
    assert "API key" in seen(asked, 401)

    led = await window.send(asked, "Sign in", key=API_KEY)
    assert led.headers["location"] == "/console/workflows/consult/1?updates=off"
    assert "consult" in seen(await window.client.get(led.headers["location"]))


@pytest.mark.parametrize(
    "onward",
    [
        *("https://evil.example", "//evil.example", "/\\evil.example", "evil", "/../x", "/a/..", "/a\r\nSet-Cookie: b"),
        *("@evil.example", "/a//b", "/<script>", "/" + "a" * 2000, "/a#b", "/é"),
        *("/%2e%2e/x", "/a/.%2E", "/%2e", "/a/%2E%2e?b"),
    ],
)
def test_nobody_is_led_out_of_the_console(onward: str) -> None:
    assert usable(onward) == ""


async def test_a_wrong_key_does_not_make_the_form_lead_elsewhere(here: Desk) -> None:
    answer = await Window(here.app).sign_in("wrong", onward="//evil.example")

    assert answer.status_code == 401
    assert "onward" not in answer.text
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    "onward", ["", "/waits", "/workflows/ask/a%3Ab@c+d", "/waits?person=ada%40example.org&limit=5"]
)
def test_pages_of_the_console_are_where_one_may_be_led(onward: str) -> None:
    assert usable(onward) == onward
