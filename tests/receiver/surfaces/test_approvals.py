"""Approval pages over HTTP: what a person is shown, what is recorded by whom, and what never decides anything."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import pytest
from resonate.types import Value
from support.approving import ADA, BOB, Desk, code_in, desk, seen
from support.configuration import settings

from orchestrator.approvals.codes import MAX_TRIES
from orchestrator.callbacks.callback import Links
from orchestrator.callbacks.question import digest_of
from orchestrator.callbacks.tokens import TokenSigner
from orchestrator.config.secret import Secret
from orchestrator.errors import EngineUnavailable
from orchestrator.runs.cancellation import request_cancel
from receiver.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.callbacks.claims import Claims

HOSTILE = "<script>alert(1)</script> \"quoted\" 'too' & \u202etxt.exe\u202c \x00\x1b[2J \u2066x\u2069 {{ 7 * 7 }}"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


def signer(here: Desk) -> TokenSigner:
    links: Links = here.engine.resonate._deps.get(Links)
    return links.signer


def claims_of(here: Desk, link: str) -> Claims:
    return signer(here).verify(link.rpartition("/")[2], audience="approver")


def forged(here: Desk, link: str, **changed: Any) -> str:
    return f"/approvals/{signer(here).mint(replace(claims_of(here, link), **changed))}"


# -- looking ------------------------------------------------------------------


async def test_the_page_shows_what_is_asked_of_whom_and_until_when(here: Desk) -> None:
    link = await here.ask(
        title="Ship order 42?",
        text="First line.\nSecond line.",
        facts=[("Order", "42"), ("Value", "1,200 EUR")],
        links=[("The contract", "https://docs.example.org/contract/42?v=1&w=2")],
    )
    answer = await here.client.get(link)

    text = seen(answer)
    for shown in ("Ship order 42?", "First line. Second line.", "Order 42", "Value 1,200 EUR", ADA, "UTC (59 minutes"):
        assert shown in text
    assert 'href="https://docs.example.org/contract/42?v=1&amp;w=2"' in answer.text
    assert "The contract (docs.example.org)" in text
    assert re.findall(r'name="decision" value="(\w+)"', answer.text) == ["approve", "reject"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"X-Moz": "prefetch"},
        {"User-Agent": "SafeLinks"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
async def test_looking_decides_nothing_however_it_is_done(here: Desk, headers: dict[str, str]) -> None:
    link = await here.ask()

    for path in (link, f"{link}?choose=approve", f"{link}?decision=approve", f"{link}?choose=approve&comment=x"):
        for method in ("GET", "HEAD"):
            body = b"decision=approve" if "Content-Type" in headers else None
            answer = await here.client.request(method, path, headers=headers, content=body)
            assert answer.status_code == 200

    assert await here.state() == "pending"


async def test_a_hundred_looks_decide_nothing(here: Desk) -> None:
    link = await here.ask()
    answers = await asyncio.gather(*(here.client.get(f"{link}?choose=approve") for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200}
    assert await here.state() == "pending"


async def test_a_hint_in_the_link_marks_a_button_and_does_nothing_else(here: Desk) -> None:
    link = await here.ask()

    assert re.findall(r'value="(\w+)" class="\w+ chosen"', (await here.client.get(f"{link}?choose=reject")).text) == [
        "reject"
    ]
    for other in ("", '"><script>', "ship", "approve&choose=reject"[:3]):
        answer = await here.client.get(link, params={"choose": other})
        assert ' chosen"' not in answer.text
        assert "<script" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused_with_a_page(here: Desk, method: str) -> None:
    link = await here.ask()
    answer = await here.client.request(method, link)

    assert "not possible" in seen(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert await here.state() == "pending"


# -- deciding -----------------------------------------------------------------


@pytest.mark.parametrize(("decision", "past"), [("approve", "Approved"), ("reject", "Rejected")])
async def test_a_decision_is_recorded_and_shown_with_by_whom_and_when(here: Desk, decision: str, past: str) -> None:
    link = await here.ask()
    answer = await here.post(link, decision, comment="with\r\ncare", other="ignored")

    assert (answer.status_code, answer.headers["location"]) == (303, link)
    page = seen(await here.client.get(link))
    assert f"{past} Recorded by {ADA} on" in page
    assert "with care" in page
    assert "Ship it?" in page
    assert "<form" not in (await here.client.get(link)).text
    (kept,) = (await here.ended())["result"]["answers"]
    assert (kept["decision"], kept["person"], kept["comment"]) == (decision, ADA, "with\ncare")


async def test_a_workflow_may_name_its_own_decisions(here: Desk) -> None:
    link = await here.ask(decisions=["publish", "send_back", "discard"])

    assert "Publish Send back Discard" in seen(await here.client.get(link))
    assert (await here.post(link, "approve")).status_code == 400
    assert (await here.post(link, "send_back")).status_code == 303
    assert "Send back Recorded by" in seen(await here.client.get(link))
    assert (await here.ended())["result"]["decision"] == "send_back"


@pytest.mark.parametrize("decision", ["", "Approve", "approve ", "succeeded", "expired", "cancelled", "<script>"])
async def test_what_is_no_decision_of_the_link_is_refused(here: Desk, decision: str) -> None:
    link = await here.ask()

    assert "not one of the decisions" in seen(await here.post(link, decision), 400)
    assert await here.state() == "pending"


async def test_a_form_without_a_decision_is_refused(here: Desk) -> None:
    link = await here.ask()

    seen(await here.client.post(link, data={"comment": "x"}), 400)
    assert await here.state() == "pending"


async def test_a_double_click_and_a_resubmit_lead_to_the_page_as_recorded(here: Desk) -> None:
    link = await here.ask()
    clicks = await asyncio.gather(*(here.post(link, comment="once") for _ in range(10)))
    again = await here.post(link, comment="another comment")

    assert {answer.status_code for answer in (*clicks, again)} == {303}
    assert "once" in seen(await here.client.get(link))
    assert "another comment" not in seen(await here.client.get(link))


async def test_another_decision_later_is_told_what_stands(here: Desk) -> None:
    link = await here.ask()
    await here.post(link, "approve", comment="fine")

    page = seen(await here.post(link, "reject", comment="no"), 409)
    assert "Already decided: Approved" in page
    assert "Your choice, Reject , was not recorded" in page
    assert f"Recorded by {ADA} on" in page
    assert (await here.ended())["result"]["decision"] == "approve"


async def test_of_a_hundred_opposite_decisions_at_once_one_stands(here: Desk) -> None:
    link = await here.ask()
    answers = await asyncio.gather(*(here.post(link, ("approve", "reject")[n % 2]) for n in range(100)))

    stands = (await here.ended())["result"]["decision"]
    expected = {"approve": [303, 409], "reject": [409, 303]}[stands]
    assert [answer.status_code for answer in answers] == expected * 50


async def test_who_decided_what_from_where_over_which_text_is_told_by_the_workflow_api(here: Desk) -> None:
    link = await here.ask(people=[ADA, BOB])
    asked = (await here.ended(steps=True, wait=0))["steps"][0]
    assert (asked["approval"]["people"], asked["approval"]["answer"]) == ([ADA, BOB], None)
    await here.post(link, comment="fine")

    document = await here.ended(steps=True)
    approval = document["steps"][0]["approval"]
    digest = claims_of(here, link).digest
    answer = approval["answer"]
    assert (approval["digest"], approval["title"]) == (digest, "Ship it?")
    assert answer == {
        "decision": "approve", "person": ADA, "comment": "fine", "digest": digest, "client": "127.0.0.1",
        "at": answer["at"],
    }  # fmt: skip
    assert document["result"]["answers"] == [answer]
    assert "approval" not in document["steps"][1]


# -- links that are not good --------------------------------------------------


async def test_a_link_that_is_not_ours_is_one_page_whatever_is_wrong_with_it(here: Desk) -> None:
    link = await here.ask()
    claims = claims_of(here, link)
    token = link.rpartition("/")[2]
    machine = signer(here).mint(replace(claims, audience="machine"))
    foreign = TokenSigner([Secret(b"x" * 32)]).mint(claims)
    of_root = digest_of(await here.engine.promises.get("consult.1"))
    root = signer(here).mint(replace(claims, promise_id="consult.1", question="consult.1", digest=of_root))
    pages = set()

    for bad in (token[:-1], f"{token}A", token.replace(".", "x"), machine, foreign, root, "x", "%00", "a" * 3000):
        for method in ("GET", "POST"):
            form = {"decision": "approve"} if method == "POST" else None
            pages.add(seen(await here.client.request(method, f"/approvals/{bad}", data=form), 404))

    assert len(pages) == 1
    assert await here.state() == "pending"
    assert "invalid" not in pages.pop()


async def test_a_link_is_no_machine_s_callback(here: Desk) -> None:
    link = await here.ask()

    answer = await here.client.post(f"/callbacks/{link.rpartition('/')[2]}", json=1)
    assert answer.status_code == 401
    assert await here.state() == "pending"


@pytest.mark.parametrize(
    "changed", [{"digest": "0" * 64}, {"digest": None, "question": None}, {"question": "consult.2:1"}]
)
async def test_a_link_made_for_another_question_shows_and_records_nothing(
    here: Desk, changed: dict[str, str | None]
) -> None:
    link = forged(here, await here.ask(), **changed)

    assert "Ship it?" not in seen(await here.client.get(link), 404)
    seen(await here.post(link), 404)
    assert await here.state() == "pending"


async def test_a_question_that_was_changed_in_the_store_is_neither_shown_nor_decided(here: Desk) -> None:
    link = await here.ask()
    get = here.engine.promises.get

    async def tampered(promise_id: str) -> Any:
        record = await get(promise_id)
        asked: Any = record.param.data
        changed = asked | {"question": asked["question"] | {"title": "Something harmless?"}}

        return msgspec.structs.replace(record, param=Value(data=changed))

    here.engine.promises.get = tampered  # type: ignore[method-assign]
    assert "harmless" not in seen(await here.client.get(link), 404)
    seen(await here.post(link), 404)
    here.engine.promises.get = get  # type: ignore[method-assign]
    assert await here.state() == "pending"


async def test_after_its_expiry_a_link_is_closed(here: Desk) -> None:
    expired = forged(here, await here.ask(), expires_at=1)

    assert "time to answer is over" in seen(await here.client.get(expired), 410)
    assert "time to answer is over" in seen(await here.post(expired), 410)
    assert await here.state() == "pending"


async def test_what_was_decided_is_still_shown_after_the_expiry(here: Desk) -> None:
    link = await here.ask()
    await here.post(link)
    expired = forged(here, link, expires_at=1)

    assert "Approved" in seen(await here.client.get(expired))
    assert (await here.post(expired)).status_code == 303
    seen(await here.post(expired, "reject"), 409)


async def test_after_the_deadline_a_link_is_closed(here: Desk) -> None:
    link = await here.ask(deadline=2)
    await here.ended()

    assert "time to answer is over" in seen(await here.client.get(link), 410)
    assert "time to answer is over" in seen(await here.post(link), 410)


async def test_after_a_cancel_a_link_says_that_it_was_withdrawn(here: Desk) -> None:
    link = await here.ask()
    await request_cancel(here.engine, "consult.1")

    assert "withdrawn" in seen(await here.client.get(link), 410)
    assert "withdrawn" in seen(await here.post(link), 410)


async def test_a_link_whose_wait_the_engine_does_not_know_is_not_valid(here: Desk) -> None:
    link = await here.ask()
    unknown = {"promise_id": "consult.9:1", "question": "consult.9:1"}

    seen(await here.client.get(forged(here, link, **unknown)), 404)
    seen(await here.client.get(forged(here, link, **unknown, expires_at=1)), 410)


async def test_many_bad_links_slow_down_their_address_and_never_a_good_one(here: Desk) -> None:
    link = await here.ask()
    answers = [await here.client.get("/approvals/bad") for _ in range(61)]

    assert [answer.status_code for answer in answers] == [404] * 60 + [429]
    seen(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) > 0
    assert (await here.client.get(link)).status_code == 200


# -- posts that are not from the page -----------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8000"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "https://127.0.0.1:8000"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Origin": "http://[broken"},
        {"Origin": "http://evil.example", "Host": "evil.example"},
    ],
)
async def test_a_post_from_another_site_decides_nothing(here: Desk, headers: dict[str, str]) -> None:
    link = await here.ask()

    assert "another site" in seen(await here.post(link, headers=headers), 403)
    assert await here.state() == "pending"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Host": "elsewhere.example"},
    ],
)
async def test_a_post_from_the_page_itself_decides(here: Desk, headers: dict[str, str]) -> None:
    link = await here.ask()
    answer = await here.post(link, headers=headers)

    assert (answer.status_code, answer.headers["location"]) == (303, link)


async def test_a_repeated_fetch_header_passes_only_if_each_does(here: Desk) -> None:
    link = await here.ask()
    headers = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]

    seen(await here.client.post(link, data={"decision": "approve"}, headers=headers), 403)
    assert await here.state() == "pending"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"decision": "approve"}', "application/json", 415),
        (b"decision=approve", "text/plain", 415),
        (b"decision=approve", None, 415),
        (b"decision=approve", "application/x-www-form-urlencoded; charset=utf-16", 415),
        (b"decision=approve&decision=reject", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=a&comment=b", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=\xff", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=%ff", "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=%ed%a0%80", "application/x-www-form-urlencoded", 400),
        (b"decision=approve" + b"&a=1" * 200, "application/x-www-form-urlencoded", 400),
        (b"decision=approve&comment=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"", "application/x-www-form-urlencoded", 400),
    ],
)
async def test_what_is_not_the_page_s_form_is_refused_with_a_page(
    here: Desk, body: bytes, content_type: str | None, status: int
) -> None:
    link = await here.ask()
    headers = {} if content_type is None else {"Content-Type": content_type}

    seen(await here.client.post(link, content=body, headers=headers), status)
    assert await here.state() == "pending"


async def test_limits_before_any_handler_answer_with_a_page_too(here: Desk) -> None:
    link = await here.ask()
    many = [(f"x-{n}", "1") for n in range(200)]

    seen(await here.client.get(link, headers=many), 431)
    seen(await here.client.get("/approvals"), 404)
    seen(await here.client.get(f"{link}/more"), 404)
    answer = await here.client.get("/approvalsx")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_compressed_form_is_refused(here: Desk) -> None:
    link = await here.ask()

    seen(await here.post(link, headers={"Content-Encoding": "gzip"}), 415)
    assert await here.state() == "pending"


# -- hostile text -------------------------------------------------------------


async def test_everything_shown_survives_hostile_text(here: Desk) -> None:
    link = await here.ask(
        title=HOSTILE, text=HOSTILE, facts=[(HOSTILE, HOSTILE)], links=[(HOSTILE, "https://a.example")]
    )
    before = await here.client.get(link)
    await here.post(link, comment=HOSTILE)
    after = await here.client.get(link)

    for answer in (before, after):
        text = seen(answer)
        assert text.count("<script>alert(1)</script> \"quoted\" 'too' & \ufffdtxt.exe\ufffd") >= 5
        assert "{{ 7 * 7 }}" in text
        for character in "\u202e\u202c\u2066\u2069\x00\x1b":
            assert character not in answer.text

    (kept,) = (await here.ended())["result"]["answers"]
    assert kept["comment"] == HOSTILE


async def test_a_megabyte_is_cut_and_says_so_and_its_digest_is_of_what_is_shown(here: Desk) -> None:
    link = await here.ask(title="t" * 1_000_000, text="x" * 1_000_000, facts=[("f" * 1_000_000, "v" * 1_000_000)])
    answer = await here.client.get(link)

    assert "cut here; 1,000,000 characters in all" in seen(answer)
    assert len(answer.text) < 60_000
    stored = (await here.engine.promises.get("consult.1:1")).param.data
    text = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    assert claims_of(here, link).digest == hashlib.sha256(text.encode()).hexdigest()


async def test_a_comment_that_looks_like_a_pickle_stays_text(here: Desk) -> None:
    link = await here.ask()
    comment = '{"__py_pickle": "gASVAAAA", "__type": "x"}'
    await here.post(link, comment=comment)

    assert (await here.ended())["result"]["answers"][0]["comment"] == comment


# -- the code -----------------------------------------------------------------


async def test_where_a_code_is_asked_for_the_link_alone_decides_nothing(here: Desk) -> None:
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)

    assert code not in link
    assert "Code from your mail" in seen(await here.client.get(link))
    for entered in ({}, {"code": ""}, {"code": "  "}, {"code": "AAAA-AAAA"}):
        answer = await here.post(link, comment="kept", **entered)
        assert "Not recorded." in seen(answer, 403)
        assert "kept" in answer.text

    assert await here.state() == "pending"
    assert (await here.post(link, code=f" {code.lower().replace('-', ' ')} ")).status_code == 303
    assert (await here.post(link, code="AAAA-AAAA")).status_code == 303, "what is recorded can be seen again"
    seen(await here.post(link, "reject", code="AAAA-AAAA"), 409)


async def test_another_person_s_code_and_another_wait_s_code_are_wrong(here: Desk) -> None:
    await here.ask("1", people=[ADA, BOB], code=True)
    link = await here.link(ADA)
    bobs = code_in((await here.letter(BOB)).text)
    await here.ask("2", people=["else@example.org"], code=True)
    elsewhere = code_in((await here.letter("else@example.org")).text)

    seen(await here.post(link, code=bobs), 403)
    seen(await here.post(link, code=elsewhere), 403)
    assert await here.state() == "pending"


async def test_after_five_wrong_codes_the_right_one_is_refused_too(here: Desk) -> None:
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)
    wrong = [f"{letter * 4}-{letter * 4}" for letter in "ABCDEFG"]

    told = [seen(await here.post(link, code=guess), 403) for guess in wrong[:MAX_TRIES]]

    assert ["Tries left: 4" in told[0], "Tries left: 1" in told[3], "too often" in told[4]] == [True] * 3
    assert "too often" in seen(await here.post(link, code=code), 403)
    assert await here.state() == "pending"


async def test_the_same_wrong_code_again_is_not_counted_again(here: Desk) -> None:
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)

    for _ in range(MAX_TRIES + 2):
        assert "Tries left: 4" in seen(await here.post(link, code="AAAA-AAAA"), 403)

    assert (await here.post(link, code=code)).status_code == 303


async def test_wrong_codes_at_the_same_instant_do_not_pass_the_limit_together(here: Desk) -> None:
    link = await here.ask(code=True)
    guesses = [f"{number:04}-2345" for number in range(40)]
    counted: list[str] = []
    codes = here.engine.promises.create

    async def create(promise_id: str, **options: Any) -> Any:
        counted.append(promise_id)
        return await codes(promise_id, **options)

    here.engine.promises.create = create  # type: ignore[method-assign]
    answers = await asyncio.gather(*(here.post(link, code=guess) for guess in guesses))

    assert sum("Tries left" in answer.text for answer in answers) == MAX_TRIES - 1
    assert len(set(counted)) == MAX_TRIES
    assert await here.state() == "pending"


async def test_the_limit_holds_over_replicas(tmp_path: Path, engine_url: str) -> None:
    async with desk(tmp_path, engine_url) as here:
        link = await here.ask(code=True)
        code = code_in((await here.letter()).text)
        chosen = settings(tmp_path)
        chosen = replace(chosen, signing_keys=here.keys)
        other = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=create_app(chosen, here.engine, {})), base_url="http://127.0.0.1:8000"
        )
        for turn, letter in enumerate("ABCDE"):
            client = (here.client, other)[turn % 2]
            seen(await client.post(link, data={"decision": "approve", "code": letter * 8}), 403)

        assert "too often" in seen(await other.post(link, data={"decision": "approve", "code": code}), 403)
        await other.aclose()


# -- an engine that is away ---------------------------------------------------


async def test_with_the_engine_away_nothing_is_lost_and_the_page_says_try_again(here: Desk) -> None:
    link = await here.ask()
    resolve = here.engine.promises.resolve

    async def away(*_: object) -> Any:
        raise EngineUnavailable("the engine did not answer within 5 s")

    here.engine.promises.resolve = away  # type: ignore[assignment,method-assign]
    answer = await here.post(link, "reject", comment='so "far"')
    page = seen(answer, 503)
    assert "Not recorded" in page
    assert "try again" in page
    assert answer.headers["retry-after"]

    here.engine.promises.resolve = resolve  # type: ignore[method-assign]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
    assert fields == {"decision": "reject", "comment": "so &#34;far&#34;"}
    assert (await here.post(link, "reject", comment='so "far"')).status_code == 303


async def test_looking_with_the_engine_away_is_a_page(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        link = await here.ask()

        async def away(*_: object) -> Any:
            raise EngineUnavailable("the engine did not answer within 5 s")

        here.engine.promises.get = away  # type: ignore[assignment,method-assign]
        seen(await here.client.get(link), 503)
        seen(await here.post(link), 503)


async def test_nobody_reads_the_token_the_comment_or_the_code_in_the_log(here: Desk, start: Any) -> None:
    log = start("debug")
    link = await here.ask(code=True)
    code = code_in((await here.letter()).text)
    await here.post(link, code="AAAA-AAAA", comment="private words")
    await here.post(link, code=code, comment="private words")
    await here.client.get(link)
    await here.ended()

    text = log.getvalue()
    assert "POST /approvals/{token} 303" in text
    assert "promise=consult.1:1 callback=question" in text
    for secret in (link.rpartition("/")[2], code, "private words", ADA):
        assert secret not in text


async def test_below_a_sub_path_the_page_leads_back_to_itself(tmp_path: Path) -> None:
    chosen = settings(tmp_path, PUBLIC_URL="https://example.org/sub")
    async with desk(tmp_path) as here:
        link = await here.ask()
        app = create_app(replace(chosen, signing_keys=here.keys), here.engine, {})
        other = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8000")
        assert f'action="/sub{link}"' in (await other.get(link)).text
        answer = await other.post(link, data={"decision": "approve"}, headers={"Origin": "https://example.org"})
        assert answer.headers["location"] == f"/sub{link}"
        await other.aclose()
