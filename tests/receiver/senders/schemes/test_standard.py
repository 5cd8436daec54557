"""Standard Webhooks, compared with the official library: what it refuses is refused, what it signs is accepted."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from support.standing import libraries_at

from orchestrator.config.secret import Secret
from receiver.senders.schemes.scheme import WINDOW, SignatureRefused, SignedNoText
from receiver.senders.schemes.standard import StandardWebhooks, verify_standard_webhook

# The vector published with the reference implementations.
KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID = b"msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = b"1614265330"
SIGNATURE = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
BODY = b'{"test": 2432232314}'
NOW = int(TIMESTAMP)

Headers = list[tuple[bytes, bytes]]

_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="."), min_size=1, max_size=255)


@pytest.fixture(scope="module", autouse=True)
def _clocks_stand() -> Iterator[None]:
    with libraries_at(NOW):
        yield


def headers_of(identity: bytes = ID, timestamp: bytes = TIMESTAMP, signature: bytes = SIGNATURE) -> Headers:
    return [(b"webhook-id", identity), (b"webhook-timestamp", timestamp), (b"webhook-signature", signature)]


def verify(headers: Headers, body: bytes = BODY, *, keys: tuple[bytes, ...] = (KEY,), now: float = NOW) -> None:
    verify_standard_webhook([Secret(key) for key in keys], headers, body, now=lambda: now)


def sign(body: bytes, identity: bytes = ID, timestamp: int = NOW, key: bytes = KEY) -> bytes:
    moment = datetime.fromtimestamp(timestamp, tz=UTC)
    return Webhook(key).sign(identity.decode(), moment, body.decode()).encode()


def oracle_accepts(headers: Headers, body: bytes) -> bool:
    """Whether the official library accepts; whatever it raises is a refusal."""
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    try:
        Webhook(KEY).verify(body, named, json_parse=False)
    except (WebhookVerificationError, ValueError, binascii.Error, RecursionError):
        return False

    return True


def test_the_published_vector_holds() -> None:
    verify(headers_of())


def test_any_change_of_one_byte_is_refused() -> None:
    for changed in range(4):
        whole = [ID, TIMESTAMP, SIGNATURE, BODY]
        for place, bit in product(range(len(whole[changed])), range(8)):
            parts = whole[:]
            text = bytearray(parts[changed])
            text[place] ^= 1 << bit
            parts[changed] = bytes(text)

            with pytest.raises(SignatureRefused):
                verify(headers_of(*parts[:3]), parts[3])


def test_any_byte_more_or_less_is_refused() -> None:
    for changed in range(4):
        whole = [ID, TIMESTAMP, SIGNATURE, BODY]
        text = whole[changed]
        for other in (text[1:], text[:-1], text + b"0", b"0" + text, text + b" ", b" " + text, text + b"\n", b""):
            parts = whole[:]
            parts[changed] = other

            with pytest.raises(SignatureRefused):
                verify(headers_of(*parts[:3]), parts[3])


def test_a_timestamp_holds_for_five_minutes_either_way() -> None:
    verify(headers_of(), now=NOW + WINDOW)
    verify(headers_of(), now=NOW - WINDOW)

    for now in (NOW + WINDOW + 0.001, NOW - WINDOW - 0.001, 0.0, 1e300, float("inf")):
        with pytest.raises(SignatureRefused):
            verify(headers_of(), now=now)


def test_each_secret_of_a_rotation_is_accepted_and_no_other() -> None:
    verify(headers_of(), keys=(b"an older key of enough bytes", KEY))
    verify(headers_of(), keys=(KEY, b"a newer key of enough bytes"))

    for keys in ((), (b"an older key of enough bytes",), (KEY[:-1],), (KEY + b"\x01",)):
        with pytest.raises(SignatureRefused):
            verify(headers_of(), keys=keys)


def test_one_good_signature_among_several_is_enough() -> None:
    other = b"v1," + base64.b64encode(bytes(32))
    asymmetric = b"v1a," + base64.b64encode(bytes(64))
    for signatures in ([SIGNATURE, other], [other, SIGNATURE], [asymmetric, other, SIGNATURE], [b"v9,", SIGNATURE]):
        verify(headers_of(signature=b" ".join(signatures)))


def test_header_names_are_found_in_any_case_among_others() -> None:
    verify([(b"host", b"x"), *((name.title(), value) for name, value in headers_of()), (b"webhook-ids", b"y")])


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_header_is_refused(missing: int) -> None:
    headers = headers_of()
    del headers[missing]

    with pytest.raises(SignatureRefused):
        verify(headers)


@pytest.mark.parametrize("repeated", range(3))
def test_a_repeated_header_is_refused_even_if_it_says_the_same(repeated: int) -> None:
    headers = headers_of()

    with pytest.raises(SignatureRefused):
        verify([*headers, (headers[repeated][0].upper(), headers[repeated][1])])


def test_a_number_cannot_be_moved_between_the_body_and_the_id() -> None:
    first, second = b"1614265330", b"1614265331"
    signature = sign(second + b".5", identity=b"a", timestamp=int(first))
    verify(headers_of(b"a", first, signature), second + b".5")

    with pytest.raises(SignatureRefused):
        verify(headers_of(b"a." + first, second, signature), b"5")


@pytest.mark.parametrize(
    ("identity", "timestamp", "mangle"),
    [
        pytest.param(ID + b".1", TIMESTAMP, None, id="an id with a full stop"),
        pytest.param(b"msg 1", TIMESTAMP, None, id="an id with a space"),
        pytest.param("m\u00fcg".encode("latin-1"), TIMESTAMP, None, id="an id beyond ASCII"),
        pytest.param(b"m" * 256, TIMESTAMP, None, id="a very long id"),
        pytest.param(ID, b"%s.0", None, id="a timestamp with a fraction"),
        pytest.param(ID, b"0%s", None, id="a timestamp with a leading zero"),
        pytest.param(ID, b"+%s", None, id="a timestamp with a sign"),
        pytest.param(ID, b" %s", None, id="a timestamp with a space"),
        pytest.param(ID, b"%se0", None, id="a timestamp with an exponent"),
        pytest.param(ID, TIMESTAMP, b"%s v1,%s", id="a signature that is not 32 bytes, after a good one"),
        pytest.param(ID, TIMESTAMP, b"%s nonsense", id="a part without a version, after a good one"),
        pytest.param(ID, TIMESTAMP, b"v1,\n%s", id="white space within base64"),
        pytest.param(ID, TIMESTAMP, b"v2,x " * 16 + b"%s", id="more than 16 signatures"),
        pytest.param(ID, TIMESTAMP, b"v2," + b"x" * 2048 + b" %s", id="a very long list of signatures"),
    ],
)
def test_what_the_official_library_takes_and_we_do_not(identity: bytes, timestamp: bytes, mangle: bytes | None) -> None:
    signature = Webhook(KEY).sign(identity.decode("latin-1"), datetime.fromtimestamp(NOW, tz=UTC), BODY.decode())
    plain = signature.encode()
    if mangle is None:
        written = plain
    elif mangle.count(b"%s") > 1:
        written = mangle % (plain, base64.b64encode(b"short"))
    elif mangle.startswith(b"v1,"):
        written = mangle % plain.removeprefix(b"v1,")
    else:
        written = mangle % plain

    stamp = TIMESTAMP if timestamp == TIMESTAMP else timestamp % TIMESTAMP
    headers = headers_of(identity, stamp, written)

    assert oracle_accepts(headers, BODY)
    with pytest.raises(SignatureRefused):
        verify(headers)


def test_a_timestamp_is_signed_in_its_one_spelling() -> None:
    for timestamp in (b"0" + TIMESTAMP, TIMESTAMP + b".0"):
        digest = hmac.digest(KEY, b"%b.%b.%b" % (ID, timestamp, BODY), hashlib.sha256)

        with pytest.raises(SignatureRefused):
            verify(headers_of(timestamp=timestamp, signature=b"v1," + base64.b64encode(digest)))


def test_a_signed_body_that_is_not_text_is_refused_as_the_official_library_does() -> None:
    body = b"\xff\xfe"
    digest = hmac.digest(KEY, b"%b.%b.%b" % (ID, TIMESTAMP, body), hashlib.sha256)

    headers = headers_of(signature=b"v1," + base64.b64encode(digest))

    with pytest.raises(SignedNoText):
        StandardWebhooks(secrets=(Secret(KEY),)).verify(headers, body, now=lambda: NOW)

    # The caller's proof covers bytes; the parser decides whether they are text.
    verify(headers, body)


@given(_ids, st.text(), st.binary(min_size=1, max_size=64), st.integers(-WINDOW, WINDOW))
def test_whatever_the_official_library_signs_is_taken(identity: str, body: str, key: bytes, age: int) -> None:
    try:
        data = body.encode()
    except UnicodeEncodeError:
        return

    signature = sign(data, identity.encode(), NOW, key)

    verify(headers_of(identity.encode(), signature=signature), data, keys=(key,), now=NOW + age)


@st.composite
def _requests(draw: st.DrawFn) -> tuple[Headers, bytes]:
    """Return a request that is signed correctly and then changed in some places."""
    moment = NOW + draw(st.sampled_from([0, 0, 0, -200, 200, -299, 299, -300, 300, -301, 301, -400, 400]))
    identity = draw(_ids | st.text(st.characters(max_codepoint=255), max_size=4)).encode("latin-1")
    body = draw(st.binary(max_size=4) | st.sampled_from([BODY, b"1.5", b""]))
    text = body.decode(errors="replace")
    signature = Webhook(KEY).sign(identity.decode("latin-1"), datetime.fromtimestamp(moment, tz=UTC), text)
    stamp = draw(st.sampled_from(["{}", "{}", "{}.0", "0{}", " {}", "{}x", "{}_0", ""])).format(moment)
    spoilt = draw(
        st.sampled_from(
            ["{}", "{}", "{0} {0}", "v1,AAAA {}", "v1a,x {}", "{},", ",{}", "v1, {}", "{}=", "{} ", "v1 {}", "v1,é {}"]
        )
    ).format(signature)
    headers = headers_of(identity, stamp.encode(), spoilt.encode("latin-1"))
    dropped = draw(st.sampled_from([None, None, None, 0, 1, 2]))
    if dropped is not None:
        del headers[dropped]

    return headers, body


@given(_requests())
def test_nothing_is_taken_that_the_official_library_refuses(request: tuple[Headers, bytes]) -> None:
    headers, body = request
    try:
        verify(headers, body)
    except SignatureRefused:
        return

    assert oracle_accepts(headers, body)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature"]) | st.binary(max_size=9),
            st.binary() | st.sampled_from([ID, TIMESTAMP, SIGNATURE]),
        ),
        max_size=6,
    ),
    st.binary(),
)
def test_any_bytes_are_taken_or_refused_and_nothing_else_happens(headers: Headers, body: bytes) -> None:
    with pytest.raises(SignatureRefused) as refused:
        verify(headers, body)

    assert refused.value.__cause__ is None


def of_svix(headers: Headers) -> Headers:
    return [(name.replace(b"webhook", b"svix"), value) for name, value in headers]


def test_headers_of_both_families_are_taken_where_they_say_the_same() -> None:
    scheme = StandardWebhooks(secrets=(Secret(KEY),))
    signed = scheme.verify([*of_svix(headers_of()), *headers_of()], BODY, now=lambda: NOW)

    assert (signed.identity, signed.moment) == (ID, TIMESTAMP)


def test_the_headers_of_svix_are_found_in_any_case() -> None:
    headers = [(name.title(), value) for name, value in of_svix(headers_of())]
    signed = StandardWebhooks(secrets=(Secret(KEY),)).verify(headers, BODY, now=lambda: NOW)

    assert signed.identity == ID


@pytest.mark.parametrize(("place", "value"), [(0, None), (1, None), (0, b"else"), (1, b"1"), (2, b"v1,else")])
def test_headers_of_both_families_that_differ_are_refused(place: int, value: bytes | None) -> None:
    other = of_svix(headers_of())
    other[place : place + 1] = [] if value is None else [(other[place][0], value)]

    with pytest.raises(SignatureRefused):
        StandardWebhooks(secrets=(Secret(KEY),)).verify([*headers_of(), *other], BODY, now=lambda: NOW)
