"""One grammar decides what an address is, for settings, workflow inputs and mail."""

from __future__ import annotations

import smtplib
from email import message_from_string, policy

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.text.mailbox import domain_name, is_domain_name, mailbox
from orchestrator.workflows.approve_and_ship import ShipRequest
from orchestrator.workflows.databricks_pipeline import PipelineRequest

LOCAL = "n" * 64
DOMAIN = ".".join(["d" * 61] * 3)


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org",
        "a.b+c@x-y.example",
        "a@localhost",
        "o'brien@example.org",
        "A.B@Example.ORG",
        "#$&'*+/?=^_`{|}~-@example.org",
        "prvs=12ab=ada@example.org",
        "ada@xn--bcher-kva.example",
        f"{LOCAL}@{DOMAIN}.net",
        "1@2.example",
        "a@b--c.example",
    ],
)
def test_a_plain_address_is_returned_as_it_is(address: str) -> None:
    assert mailbox(address) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("jürgen@example.org", "jürgen@example.org"),
        ("ju\u0308rgen@example.org", "jürgen@example.org"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.Example", "ada@xn--bcher-kva.Example"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example"),
        ("佐藤@例え.jp", "佐藤@xn--r8jz45g.jp"),
        ("ada@ex\u0430mple.org", "ada@xn--exmple-4nf.org"),
        (f"{'ü' * 32}@example.org", f"{'ü' * 32}@example.org"),
    ],
)
def test_an_internationalised_address_has_one_form_in_which_look_alikes_show(text: str, address: str) -> None:
    assert mailbox(text) == address == mailbox(address)


REFUSED = (
    *("", "@", "ada", "ada@", "@x", "a@@x", "a@x@y", "a b@c", " a@x", "a@x ", "a@ x", "a@x\n", "\ta@x", "a\x00@x"),
    *(
        "Ada <ada@x>",
        "<ada@x>",
        "ada@x>",
        "ada<@x",
        "a@x\r\nBcc: b@y",
        "a\r\n@x",
        "a,b@x",
        "a;b@x",
        "a@x,b@y",
        "a@x;b@y",
    ),
    *('"ada"@x', '"a b"@x', '"a@evil.example>"@x', "a(comment)@x", "(c)a@x", "a@(c)x", "a@x(c)", "a\\@x", "a\\b@x"),
    *("@route:a@x", "<@route,@other:a@x>", "a%evil.example@x", "evil.example!a@x", "a:b@x", "undisclosed:;", "g:a@x;"),
    *(".a@x", "a.@x", "a..b@x", "a@.x", "a@x.", "a@x..y", "a@-x", "a@x-", "a@x_y", "a@x/y", "a@x:25", "a@*.x"),
    *("a@127.0.0.1", "a@[127.0.0.1]", "a@[IPv6:::1]", "a@1", "a@x.1", "a@xn--", "a@xn--zz", "a@xn--a-.example"),
    "=?utf-8?q?e=40evil.example=3e?=x@corp.example",
    "=?utf-8?q?e=40evil.example=3e?=@corp.example",
    "=?us-ascii?b?ZUBldmlsLmV4YW1wbGU+?=@corp.example",
    "a.=?utf-8?q?e?=.b@corp.example",
    "a=?b@corp.example",
    "a@=?utf-8?q?evil.example?=",
    *("\uff41da@x", "a\ufe52b@x", "a\uff20evil.example@x", "a@x\u3002y", "a@x\uff0ey", "a@\uff58.y", "\ufb00@x", "²@x"),
    *("\u202eada@x", "a\u200db@x", "a\u00adb@x", "a\u00a0b@x", "a\u2028b@x", "a\ufeff@x", "\u0301a@x", "a.\u0301b@x"),
    *(
        "😀@x.example",
        "a@😀.example",
        "a@BÜCHER.example",
        "\ud800@x",
        "a@\ud800",
        "a@x\u00ad.example",
        "a\x7f@x",
        "a\x85@x",
    ),
    *(f"n{LOCAL}@x", f"{'ü' * 33}@x", f"{LOCAL}@{DOMAIN}.nets", f"a@{'d' * 64}.net", f"a@{'.'.join('d' * 127)}.net"),
    *("a@" + "ü" * 60 + ".example", "a" * 10_000_000, "a@" + "." * 250, "?" * 254),
)


@pytest.mark.parametrize("address", REFUSED, ids=lambda address: ascii(address)[:60])
def test_anything_else_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="not an e-mail address") as caught:
        mailbox(address)

    assert len(str(caught.value)) < 120
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("field", ["approver", "notify"])
@pytest.mark.parametrize("address", REFUSED[-60:], ids=lambda address: ascii(address)[:60])
def test_a_workflow_s_input_follows_the_same_grammar(field: str, address: str) -> None:
    with pytest.raises(ValidationError):
        taken(field, address)


@pytest.mark.parametrize("field", ["approver", "notify"])
def test_a_workflow_gets_the_one_form(field: str) -> None:
    assert taken(field, "ju\u0308rgen@bücher.example") == "jürgen@xn--bcher-kva.example"


def taken(field: str, address: str) -> str | None:
    if field == "approver":
        return ShipRequest(order_id="1", approver=address, summary="x").approver

    return PipelineRequest(job_id=1, notify=address).notify


CHARACTERS = st.one_of(st.sampled_from("abcxyz.@=?%!<>\"'()[]:;, \r\n\\-_ü\u0308\u202e\uff20utf8q"), st.characters())


@hypothesis_settings(max_examples=500, deadline=None)
@given(
    text=st.one_of(
        st.text(CHARACTERS, max_size=40), st.builds("{}@{}".format, st.text(CHARACTERS), st.text(CHARACTERS))
    )
)
def test_what_is_taken_means_the_same_to_every_reader(text: str) -> None:
    try:
        address = mailbox(text)
    except ValueError:
        return

    assert mailbox(address) == address
    assert smtplib.quoteaddr(address) == f"<{address}>"
    mail = message_from_string(f"To: {address}\n\n", policy=policy.SMTPUTF8)
    assert [one.addr_spec for one in mail["To"].addresses] == [address]
    assert len(address.encode()) <= 254
    assert address.rpartition("@")[2].isascii()


def test_a_domain_name_is_a_name_with_or_without_dots() -> None:
    assert domain_name("bücher.example") == "xn--bcher-kva.example"
    assert all(map(is_domain_name, ("mx.example.org", "localhost", "a-b.c2")))
    assert not any(
        map(is_domain_name, ("", "127.0.0.1", "::1", "[127.0.0.1]", "my_host", "x.", "a b", "bücher.example"))
    )
