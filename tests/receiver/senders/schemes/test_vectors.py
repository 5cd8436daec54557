"""The vectors that the providers publish verify, and with any one bit or byte changed they do not."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import pytest

from orchestrator.config.secret import Secret
from receiver.senders.schemes.basic_password import BasicPassword
from receiver.senders.schemes.hmac_header import HeaderSignature
from receiver.senders.schemes.scheme import Scheme, SignatureRefused, SignatureRepeated
from receiver.senders.schemes.standard import StandardWebhooks
from receiver.senders.schemes.stripe import StripeSignature


@dataclass(frozen=True)
class Vector:
    """A scheme over a key, a signed request, and when it was signed."""

    scheme: str
    key: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    now: int = 0

    def verify(self) -> None:
        key = (Secret(self.key),)
        schemes: dict[str, Callable[[], Scheme]] = {
            "standard": lambda: StandardWebhooks(secrets=key),
            "stripe": lambda: StripeSignature(secrets=key),
            "github": lambda: HeaderSignature.github(key),
            "slack": lambda: HeaderSignature.slack(key),
            "shopify": lambda: HeaderSignature.shopify(key),
            "databricks": lambda: BasicPassword(secrets=key),
        }
        schemes[self.scheme]().verify(self.headers, self.body, now=lambda: self.now)


VECTORS = {
    # From the reference implementations.
    "standard": Vector(
        "standard",
        base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        (
            (b"webhook-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
            (b"webhook-timestamp", b"1614265330"),
            (b"webhook-signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ),
        b'{"test": 2432232314}',
        1614265330,
    ),
    # https://docs.svix.com/receiving/verifying-payloads/how-manual
    "svix": Vector(
        "standard",
        base64.b64decode("plJ3nmyCDGBKInavdOK15jsl"),
        (
            (b"svix-id", b"msg_loFOjxBNrRLzqYUf"),
            (b"svix-timestamp", b"1731705121"),
            (b"svix-signature", b"v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
        ),
        b'{"event_type":"ping","data":{"success":true}}',
        1731705121,
    ),
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    "github": Vector(
        "github",
        b"It's a Secret to Everybody",
        ((b"x-hub-signature-256", b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),),
        b"Hello, World!",
    ),
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    "slack": Vector(
        "slack",
        b"8f742231b10e8888abcd99yyyzzz85a5",
        (
            (b"x-slack-request-timestamp", b"1531420618"),
            (b"x-slack-signature", b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ),
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        1531420618,
    ),
    # RFC 7617, section 2: no signature, so nothing of the body.
    "basic": Vector(
        "databricks", b"Aladdin:open sesame", ((b"authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),), b""
    ),
}
SIGNED = [name for name in VECTORS if name != "basic"]


def changed(text: bytes) -> Iterator[bytes]:
    """Yield the text with each bit of it flipped, and with a byte more or less."""
    for place, bit in product(range(len(text)), range(8)):
        flipped = bytearray(text)
        flipped[place] ^= 1 << bit
        yield bytes(flipped)

    yield from (text[1:], text[:-1], text + b"0", b"0" + text, text + b" ", b" " + text, text + b"\n", b"")


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_vector_holds(name: str) -> None:
    VECTORS[name].verify()


@pytest.mark.parametrize("name", SIGNED)
def test_any_change_of_a_vectors_body_is_refused(name: str) -> None:
    for body in changed(VECTORS[name].body):
        with pytest.raises(SignatureRefused):
            replace(VECTORS[name], body=body).verify()


@pytest.mark.parametrize("name", SIGNED)
def test_any_change_of_a_vectors_key_is_refused(name: str) -> None:
    # HMAC pads a key with zero bytes: a longer key that ends with them is the same key.
    for key in changed(VECTORS[name].key):
        with pytest.raises(SignatureRefused):
            replace(VECTORS[name], key=key).verify()


@pytest.mark.parametrize("name", SIGNED)
def test_any_change_of_a_vectors_id_timestamp_or_signature_is_refused(name: str) -> None:
    vector = VECTORS[name]

    for at, (header, value) in enumerate(vector.headers):
        for other in changed(value):
            headers = (*vector.headers[:at], (header, other), *vector.headers[at + 1 :])

            with pytest.raises(SignatureRefused):
                replace(vector, headers=headers).verify()


def test_any_change_of_the_basic_credentials_is_refused() -> None:
    vector = VECTORS["basic"]
    ((header, value),) = vector.headers
    credentials = value.removeprefix(b"Basic ")

    for other in changed(credentials):
        if other.strip(b" ") == credentials:
            continue

        with pytest.raises(SignatureRefused):
            replace(vector, headers=((header, b"Basic " + other),)).verify()

    for other in (b"Bearer " + credentials, credentials, b"Basic", b"Basic  ", b"Basic\t" + credentials):
        with pytest.raises(SignatureRefused):
            replace(vector, headers=((header, other),)).verify()


@pytest.mark.parametrize("name", VECTORS)
def test_each_header_is_needed_once(name: str) -> None:
    vector = VECTORS[name]

    for at, (header, value) in enumerate(vector.headers):
        with pytest.raises(SignatureRefused) as missing:
            replace(vector, headers=(*vector.headers[:at], *vector.headers[at + 1 :])).verify()

        with pytest.raises(SignatureRepeated):
            replace(vector, headers=(*vector.headers, (header.upper(), value))).verify()

        assert not isinstance(missing.value, SignatureRepeated)


@pytest.mark.parametrize("name", [name for name in SIGNED if VECTORS[name].now])
def test_a_vector_holds_for_five_minutes_either_way(name: str) -> None:
    vector = VECTORS[name]

    for seconds in (300, -300):
        replace(vector, now=vector.now + seconds).verify()

    for seconds in (301, -301, 10**9):
        with pytest.raises(SignatureRefused):
            replace(vector, now=vector.now + seconds).verify()
