"""Keys for every purpose: what is accepted, and what is refused as too weak, repeated or published.

Long because it is made of tables, one for each kind of key, and of all the keys that this repository prints.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.config.keys import Admission, ApiKey, is_placeholder, published_digests
from orchestrator.errors import ConfigurationError

if TYPE_CHECKING:
    from orchestrator.config.keys import Role

VARIABLE = "COUNTERSIGN_X"
ROOT = Path(__file__).parents[3]


def random_bytes(size: int, number: int = 0) -> bytes:
    """Return bytes without a pattern, the same in every run: no test of random keys depends on luck."""
    return hashlib.shake_256(b"%d of %d" % (number, size)).digest(size)


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def refused(admit: Callable[[str, list[str]], object], *members: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        admit(VARIABLE, list(members))

    assert caught.value.variable == VARIABLE
    assert not any(member in str(caught.value) for member in members if member)

    return caught.value.reason


def test_a_signing_key_is_32_bytes_or_more() -> None:
    long = random_bytes(200)

    assert Admission().signing_keys(VARIABLE, [b64url(long)])[0].reveal() == long
    assert "too short" in refused(Admission().signing_keys, b64url(random_bytes(31)))


@pytest.mark.parametrize("change", [lambda t: t + "=", lambda t: t[:-1] + "+", lambda t: t + "AA", lambda t: " " + t])
def test_a_signing_key_is_spelt_in_one_way(change: Callable[[str], str]) -> None:
    assert "base64url" in refused(Admission().signing_keys, change(b64url(random_bytes(32))))


def test_a_signing_key_whose_last_character_has_spare_bits_is_refused() -> None:
    text = b64url(random_bytes(32))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = letters[letters.index(text[-1]) ^ 1]

    assert "base64url" in refused(Admission().signing_keys, text[:-1] + sibling)


def test_a_payload_key_is_exactly_32_bytes_with_or_without_padding() -> None:
    first, second = random_bytes(32, 1), random_bytes(32, 2)
    found = Admission().payload_keys(VARIABLE, [b64url(first), b64url(second) + "="])

    assert [key.reveal() for key in found] == [first, second]
    assert "32 bytes" in refused(Admission().payload_keys, b64url(random_bytes(31)))
    assert "32 bytes" in refused(Admission().payload_keys, b64url(random_bytes(33)))
    assert "32 bytes" in refused(Admission().payload_keys, b64url(first) + "==")


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_caller_secret_has_24_to_64_bytes(size: int) -> None:
    raw = random_bytes(size)

    assert Admission().caller_secrets(VARIABLE, [f"whsec_{b64(raw)}"])[0].reveal() == raw


@pytest.mark.parametrize("size", [0, 1, 23, 65])
def test_a_caller_secret_of_another_size_is_refused(size: int) -> None:
    refused(Admission().caller_secrets, f"whsec_{b64(random_bytes(size))}")


def test_a_caller_secret_has_its_prefix_and_its_padding() -> None:
    text = b64(random_bytes(32))

    assert "whsec_" in refused(Admission().caller_secrets, text)
    assert "whsec_" in refused(Admission().caller_secrets, f"whsec_{text[:-1]}")
    assert "whsec_" in refused(Admission().caller_secrets, f"whsec_{text}!")
    assert "whsec_" in refused(Admission().caller_secrets, "whsec_ä")


def test_a_caller_secret_whose_last_character_has_spare_bits_is_refused() -> None:
    text = b64(random_bytes(31) + b"\x00")

    assert text.endswith("A=")
    assert "whsec_" in refused(Admission().caller_secrets, f"whsec_{text[:-2]}B=")


def test_an_api_key_is_a_name_and_a_digest_in_either_case() -> None:
    digest = hashlib.sha256(random_bytes(8)).hexdigest()

    assert Admission().api_keys(VARIABLE, [f"a.B_c-1:{digest}"]) == {"a.B_c-1": ApiKey(digest=bytes.fromhex(digest))}
    assert Admission().api_keys(VARIABLE, [f"a:{digest.upper()}"]) == {"a": ApiKey(digest=bytes.fromhex(digest))}


@pytest.mark.parametrize(
    "entry",
    [
        "{}",
        ":{}",
        "a:{}0",
        "a b:{}",
        "a:{}:x",
        "a:{}:",
        "a:{}:Read",
        "a:{}:admin",
        "a:{}:read:start",
        "a:{}: read",
        "a\n:{}",
        "a=b:{}",
        "ä:{}",
        "a" * 65 + ":{}",
        "a:sha256:{}",
    ],
)
def test_an_api_key_of_another_form_is_refused(entry: str) -> None:
    refused(Admission().api_keys, entry.format(sha256(random_bytes(32).hex())))


@pytest.mark.parametrize("role", ["read", "start", "operate"])
def test_an_api_key_may_do_what_its_role_says_and_everything_without_one(role: Role) -> None:
    read, other = (sha256(random_bytes(32, number).hex()) for number in range(2))
    keys = Admission().api_keys(VARIABLE, [f"a:{read}:{role}", f"b:{other}"])

    assert (keys["a"].role, keys["b"].role) == (role, "operate")


def test_the_same_key_under_another_role_is_refused() -> None:
    digest = sha256(random_bytes(32).hex())

    assert "repeats a key" in refused(Admission().api_keys, f"a:{digest}:read", f"b:{digest}:operate")
    assert "name twice" in refused(Admission().api_keys, f"a:{digest}:read", f"a:{sha256('x' * 40)}:operate")


def test_an_api_key_prints_its_role_and_not_its_digest() -> None:
    assert repr(ApiKey(digest=b"0123456789", role="read")) == "ApiKey(role='read')"


def test_an_api_key_name_is_used_once() -> None:
    entries = [f"ops:{sha256(str(n))}" for n in range(2)]

    assert "name twice" in refused(Admission().api_keys, *entries)


@pytest.mark.parametrize("key", ["", "changeme", "secret", "password", "example", "your-key-here", "xxxx"])
def test_the_digest_of_a_placeholder_is_no_api_key(key: str) -> None:
    assert "placeholder" in refused(Admission().api_keys, f"ops:{sha256(key)}")


@pytest.mark.parametrize("digest", ["0" * 64, "deadbeef" * 8, "0123456789abcdef" * 4])
def test_what_is_evidently_no_digest_is_no_api_key(digest: str) -> None:
    assert "placeholder" in refused(Admission().api_keys, f"ops:{digest}")


EVIDENT = [
    bytes(32),
    b"k" * 32,
    bytes(range(32)),
    bytes(range(100, 164)),
    bytes(range(0, 96, 3)),
    b"0123456789abcdef" * 2,
    b"ab" * 20,
    b"abc" * 11,
    b"this-is-my-secret-signing-key-0042",
    b"change-me-change-it-before-you-go-live",
    b"\x01\x02" + b"\xff" * 30,
]


@pytest.mark.parametrize("material", EVIDENT)
def test_a_key_that_is_evidently_not_random_is_refused(material: bytes) -> None:
    assert "placeholder" in refused(Admission().signing_keys, b64url(material))
    assert "placeholder" in refused(Admission().payload_keys, b64url(material[:32]))
    assert "placeholder" in refused(Admission().caller_secrets, f"whsec_{b64(material[:64])}")


@pytest.mark.parametrize(
    "text",
    [
        "changeme" * 8,
        "your-signing-key-here-at-least-32-bytes-of-it-w",
        "insert_your_key_here_insert_your_key_here_AAAAA",
        "0123456789" * 5 + "01",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv",
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "AABBCCDDEEFFGGHHIIJJKKLLMMNNOOPPQQRRSSTTUUVVWWXX",
    ],
)
def test_a_key_whose_spelling_is_evidently_not_random_is_refused(text: str) -> None:
    assert "placeholder" in refused(Admission().signing_keys, text)


def test_random_keys_of_every_form_are_taken() -> None:
    assert not any(is_placeholder(b64url(random_bytes(32, n))) for n in range(2000))
    assert not any(is_placeholder(random_bytes(32, n).hex()) for n in range(2000))
    assert not any(is_placeholder(random_bytes(32, n).decode("latin-1")) for n in range(2000))


def test_a_key_serves_one_purpose_whatever_its_spelling() -> None:
    raw = random_bytes(32)
    admission = Admission()
    admission.signing_keys(VARIABLE, [b64url(raw)])

    assert "in use already" in refused(admission.signing_keys, b64url(raw))
    assert "in use already" in refused(admission.payload_keys, b64url(raw) + "=")
    assert "in use already" in refused(admission.caller_secrets, f"whsec_{b64(raw)}")
    assert "in use already" in refused(admission.api_keys, f"a:{raw.hex()}")
    assert "in use already" in refused(admission.api_keys, f"a:{sha256(b64url(raw))}")
    assert "in use already" in refused(admission.api_keys, f"a:{hashlib.sha256(raw).hexdigest()}")


def test_an_api_key_under_two_names_is_refused() -> None:
    digest = sha256(random_bytes(32).hex())

    assert "already" in refused(Admission().api_keys, f"a:{digest}", f"b:{digest.upper()}")


def test_a_bearer_may_be_of_any_form_but_no_placeholder_and_no_key_of_ours() -> None:
    admission = Admission()
    key = b64url(random_bytes(32))
    admission.signing_keys(VARIABLE, [key])

    assert admission.bearer(VARIABLE, "a.b.c").text() == "a.b.c"

    for token in ("ChangeMe", key):
        with pytest.raises(ConfigurationError):
            admission.bearer(VARIABLE, token)


# What this repository prints

SHAPES = (
    re.compile(r"whsec_[A-Za-z0-9+/]{16,}={0,2}"),
    re.compile(r"(?<![A-Za-z0-9_-])(?=[A-Z0-9_-]*[a-z])(?=[a-z0-9_-]*[A-Z])(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{43,}"),
    re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])"),
)


def printed_keys() -> Iterator[tuple[Path, str]]:
    """Yield what looks like a key in the documents, tests and scripts, with the file that prints it."""
    documents = [file for room in (".", "orchestrator", "receiver") for file in (ROOT / room).glob("*.md")]
    programs = [file for folder in ("tests", "scripts") for file in (ROOT / folder).rglob("*") if file.is_file()]

    for file in [*documents, *programs]:
        if file.suffix in {".pyc", ".db"}:
            continue

        text = file.read_text("utf-8", errors="replace")

        for shape in SHAPES:
            yield from ((file.relative_to(ROOT), found) for found in shape.findall(text))


def materials(text: str) -> set[bytes]:
    """Return every run of bytes that a printed text may stand for, the text itself included."""
    found = {text.encode()}

    decoders: tuple[Callable[[], bytes], ...] = (
        lambda: base64.b64decode(text.removeprefix("whsec_"), validate=True),
        lambda: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)),
        lambda: bytes.fromhex(text),
    )

    for decode in decoders:
        try:
            found.add(decode())
        except (binascii.Error, ValueError):
            continue

    return found


def fitting(text: str) -> Iterator[tuple[str, Callable[[Admission], object]]]:
    """Yield each way to put a printed text into the configuration, whether it would be taken or not."""
    yield "signing key", lambda admission: admission.signing_keys(VARIABLE, [text])
    yield "payload key", lambda admission: admission.payload_keys(VARIABLE, [text])
    yield "caller secret", lambda admission: admission.caller_secrets(VARIABLE, [text])
    yield "API key", lambda admission: admission.api_keys(VARIABLE, [f"a:{sha256(text)}"])
    yield "API key digest", lambda admission: admission.api_keys(VARIABLE, [f"a:{text}"])
    yield "bearer", lambda admission: admission.bearer(VARIABLE, text)


def taken(text: str, published: frozenset[str]) -> list[str]:
    """Return the purposes for which a printed text would be accepted."""
    purposes = []

    for purpose, admit in fitting(text):
        try:
            admit(Admission(published))
        except ConfigurationError:
            continue

        purposes.append(purpose)

    return purposes


def test_every_key_that_this_repository_prints_is_refused_for_every_purpose() -> None:
    published = published_digests()
    accepted = {text: str(file) for file, text in printed_keys() if taken(text, published)}
    missing = [
        f"{hashlib.sha256(material).hexdigest()}  # {file}"
        for text, file in sorted(accepted.items(), key=lambda one: one[1])
        for material in sorted(materials(text))
    ]

    assert not missing, "append to orchestrator/config/published.sha256:\n" + "\n".join(missing)


def test_a_key_is_taken_until_it_is_published() -> None:
    for text in (b64url(random_bytes(32)), f"whsec_{b64(random_bytes(24))}", random_bytes(32).hex()):
        assert taken(text, frozenset())
        assert not taken(text, frozenset(hashlib.sha256(one).hexdigest() for one in materials(text)))


def test_what_looks_like_a_key_is_found_and_a_long_name_is_not() -> None:
    for text in (b64url(hashlib.sha256(b"a").digest()), f"whsec_{b64(bytes(24))}", sha256("a")):
        assert any(shape.search(f'"{text}"') for shape in SHAPES)

    assert not any(shape.search("test_a_very_long_name_with_401_in_it_which_is_no_key_at_all") for shape in SHAPES)


#: What senders print in their own documentation.
EXAMPLES = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_plJ3nmyCDGBKInavdOK15jsl",
    "whsec_ABCDmcQ8DpB7J6Yn4eZqkt48KRPy3a8n",
    "whsec_test_secret",
    "It's a Secret to Everybody",
    "8f742231b10e8888abcd99yyyzzz85a5",
    "hush",
)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_of_a_senders_documentation_is_refused_in_every_spelling(text: str) -> None:
    bare = text.removeprefix("whsec_")

    for one in (text, bare):
        encoded = f"whsec_{b64(one.encode())}"
        ways: list[Callable[[Admission, str], object]] = [
            lambda admission, it: admission.sender_secret(VARIABLE, it),
            lambda admission, it: admission.signing_keys(VARIABLE, [it]),
            lambda admission, it: admission.caller_secrets(VARIABLE, [it]),
            lambda admission, it: admission.api_keys(VARIABLE, [f"a:{sha256(it)}"]),
        ]

        for admit in ways:
            with pytest.raises(ConfigurationError):
                admit(Admission(), one)

        with pytest.raises(ConfigurationError):
            Admission().caller_secrets(VARIABLE, [encoded])

    assert sha256(text) in published_digests()


def test_the_file_of_published_keys_holds_digests_and_comments_only() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{64}", line) for line in published_digests())
