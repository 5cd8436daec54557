"""Our verifiers against the official ones: what they refuse is refused, and what they sign is accepted.

Where ours is stricter is listed, one case each. GitHub and Shopify publish no verifier for Python; their scheme is that
of `test_vectors`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import pytest
import stripe
import svix
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier
from support.standing import libraries_at

from orchestrator.config.secret import Secret
from receiver.senders.schemes.hmac_header import HeaderSignature
from receiver.senders.schemes.scheme import SignatureRefused
from receiver.senders.schemes.standard import StandardWebhooks
from receiver.senders.schemes.stripe import StripeSignature

KEY = "whsec_" + "0123456789abcdef" * 2
BODY = b'{"id": "evt_1"}'
NOW = 1_700_000_000

type Headers = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module", autouse=True)
def _clocks_stand() -> Iterator[None]:
    with libraries_at(NOW):
        yield


class At(Clock):
    """A clock that does not move."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def now(self) -> float:
        return self.moment


def named(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def stripe_takes(headers: Headers, body: bytes, now: float) -> bool:
    """Whether Stripe's library accepts it; whatever it raises is a refusal. Its clock is fixed at NOW."""
    try:
        stripe.WebhookSignature.verify_header(body, named(headers).get("stripe-signature"), KEY, 300)
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False

    return True


def slack_takes(headers: Headers, body: bytes, now: float) -> bool:
    try:
        return SignatureVerifier(KEY, At(now)).is_valid_request(body, named(headers))
    except (ValueError, TypeError):
        return False


def svix_takes(headers: Headers, body: bytes, now: float) -> bool:
    try:
        svix.Webhook(KEY.encode()).verify(body, named(headers))
    except (svix.WebhookVerificationError, ValueError):
        return False

    return True


SECRETS = (Secret(KEY),)
PAIRS: dict[str, tuple[Callable[..., object], Callable[[Headers, bytes, float], bool]]] = {
    "stripe": (StripeSignature(secrets=SECRETS).verify, stripe_takes),
    "slack": (HeaderSignature.slack(SECRETS).verify, slack_takes),
    "svix": (StandardWebhooks(secrets=SECRETS).verify, svix_takes),
}


def hexdigest(signed: bytes) -> str:
    return hmac.new(KEY.encode(), signed, hashlib.sha256).hexdigest()


def stripe_headers(header: str) -> Headers:
    return [(b"stripe-signature", header.encode("latin-1"))]


def slack_headers(stamp: str, signature: str) -> Headers:
    return [
        (b"x-slack-request-timestamp", stamp.encode("latin-1")),
        (b"x-slack-signature", signature.encode("latin-1")),
    ]


def we_take(name: str, headers: Iterable[tuple[bytes, bytes]], body: bytes, now: float) -> bool:
    try:
        PAIRS[name][0](headers, body, now=lambda: now)
    except SignatureRefused:
        return False

    return True


moments = st.sampled_from([0, 0, 0, -200, 200, -299, 299, -400, 400, 10**9])
bodies = st.binary(max_size=6) | st.sampled_from([BODY, b"", b"1.5", "é".encode(), b"\xff"])
stamps = st.sampled_from(["{}", "{}", "{}", "0{}", "{}.0", " {}", "+{}", "{}_0", "{}x", "", "-{}", "{}e0"])


@st.composite
def stripe_requests(draw: st.DrawFn) -> tuple[Headers, bytes, float]:
    """Return a request that is signed correctly and then changed in some places."""
    stamp, body = str(NOW + draw(moments)), draw(bodies)
    good = hexdigest(stamp.encode() + b"." + body)
    shapes = [
        *("t={t},v1={s}", "t={t},v1={s}", "v1={s},t={t}", "t={t},v0={s}", "t={t},v1=,v1={s}", "t={t},t=1,v1={s}"),
        *("t={t},v1={s},v2=x", "{s}", "t={t},v1={s},", ",t={t},v1={s}", "t={t}, v1={s}", "t={t},v1={s}="),
        *("t={t}=1,v1={s}", "t=1,t={t},v1={s}", "T={t},v1={s}", "t={t},v1={u}", "t={t};v1={s}", "t={t},v1={s},v1=é"),
    ]
    header = draw(st.sampled_from(shapes)).format(t=draw(stamps).format(stamp), s=good, u=good.upper())

    return stripe_headers(header), body, NOW


@st.composite
def slack_requests(draw: st.DrawFn) -> tuple[Headers, bytes, float]:
    stamp, body = draw(stamps).format(NOW + draw(moments)), draw(bodies)
    good = hexdigest(b"v0:" + stamp.encode() + b":" + body)
    shape = draw(st.sampled_from(["v0={}", "v0={}", "v0={},v0={}", "v1={}", "{}", "v0= {}", "V0={}", "v0={} ", "é{}"]))

    return slack_headers(stamp, shape.format(good, good)), body, NOW


@given(stripe_requests())
def test_nothing_is_taken_that_stripes_library_refuses(request: tuple[Headers, bytes, float]) -> None:
    assert not we_take("stripe", *request) or stripe_takes(*request)


@given(slack_requests())
def test_nothing_is_taken_that_slacks_library_refuses(request: tuple[Headers, bytes, float]) -> None:
    assert not we_take("slack", *request) or slack_takes(*request)


@given(st.text(), st.integers(-300, 300))
def test_whatever_stripes_library_signs_is_taken(body: str, age: int) -> None:
    try:
        data = body.encode()
    except UnicodeEncodeError:
        return

    header = stripe.WebhookSignature.generate_signature_header(body, KEY, NOW)

    assert we_take("stripe", stripe_headers(header), data, NOW + age)


@given(st.text(), st.integers(-300, 300))
def test_whatever_slacks_library_signs_is_taken(body: str, age: int) -> None:
    try:
        data = body.encode()
    except UnicodeEncodeError:
        return

    signature = SignatureVerifier(KEY).generate_signature(timestamp="1600000000", body=body)

    assert we_take("slack", slack_headers("1600000000", str(signature)), data, 1600000000 + age)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param("t={t},v1={s},t=1", id="a second timestamp after a good one"),
        pytest.param("t={t},v1=,v1={s}", id="a signature that is none beside a good one"),
        pytest.param("t={t},v1={u},v1={s}", id="a signature in upper case beside a good one"),
        pytest.param("t={t},v1={s}=x", id="something after a signature"),
        pytest.param("t={t}=x,v1={s}", id="something after the timestamp"),
        pytest.param("t=0{t},v1={s}", id="a timestamp with a leading zero"),
        pytest.param("t=+{t},v1={s}", id="a timestamp with a sign"),
        pytest.param("t= {t},v1={s}", id="a timestamp with a space"),
        pytest.param("t={t},v1={s},", id="an empty element"),
        pytest.param("t={t},v1={s},nonsense", id="an element without a value"),
        pytest.param("t={t}," + "v1=0," * 20 + "v1={s}", id="more than 16 signatures"),
        pytest.param("t={t},v1={s},v9=" + "x" * 2048, id="a very long header"),
    ],
)
def test_what_stripes_library_takes_and_we_do_not(shape: str) -> None:
    good = hexdigest(b"%d.%b" % (NOW, BODY))
    headers = stripe_headers(shape.format(t=NOW, s=good, u=good.upper()))

    assert stripe_takes(headers, BODY, NOW)
    assert not we_take("stripe", headers, BODY, NOW)


def test_a_moment_ahead_is_taken_by_stripes_library_and_not_by_us() -> None:
    headers = stripe_headers(f"t={NOW + 3600},v1={hexdigest(b'%d.%b' % (NOW + 3600, BODY))}")

    assert stripe_takes(headers, BODY, NOW)
    assert not we_take("stripe", headers, BODY, NOW)


@pytest.mark.parametrize("spelling", ["0{}", "+{}", " {}", "{} ", "{}_0"])
def test_a_spelling_of_the_timestamp_that_slacks_library_takes_and_we_do_not(spelling: str) -> None:
    number = 160000000 if spelling == "{}_0" else 1600000000
    stamp = spelling.format(number)
    headers = slack_headers(stamp, "v0=" + hexdigest(f"v0:{stamp}:".encode() + BODY))

    assert slack_takes(headers, BODY, 1600000000)
    assert not we_take("slack", headers, BODY, 1600000000)


def test_svix_header_names_are_taken_as_its_library_takes_them() -> None:
    signature = svix.Webhook(KEY.encode()).sign("msg_1", datetime.fromtimestamp(NOW, tz=UTC), BODY.decode())
    headers = [(b"svix-id", b"msg_1"), (b"svix-timestamp", b"%d" % NOW), (b"svix-signature", signature.encode())]

    assert svix_takes(headers, BODY, NOW)
    assert we_take("svix", headers, BODY, NOW)
    # The library mixes both families: it could verify one of them and read the other.
    mixed = [(b"webhook-id", b"msg_1"), *headers[1:]]
    assert svix_takes(mixed, BODY, NOW)
    assert not we_take("svix", mixed, BODY, NOW)


@given(
    st.sampled_from(sorted(PAIRS)),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"stripe-signature", b"x-slack-signature", b"x-slack-request-timestamp", b"svix-signature"]
            )
            | st.binary(max_size=9),
            st.binary() | st.sampled_from([b"t=1,v1=0", b"v0=", b"1600000000", b"v1,"]),
        ),
        max_size=6,
    ),
    st.binary(),
)
def test_any_bytes_are_refused_and_nothing_else_happens(name: str, headers: Headers, body: bytes) -> None:
    with pytest.raises(SignatureRefused) as refused:
        PAIRS[name][0](headers, body, now=lambda: 1600000000.0)

    assert refused.value.__cause__ is None
