"""Settings from the environment: each variable is accepted or refused by its name, and no refusal shows its value.

Long because every variable has its rows of accepted and of refused values.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import ipaddress
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orchestrator.config import environment, settings
from orchestrator.config.settings import Settings, load_settings, read_environment
from orchestrator.errors import ConfigurationError

OTHERS = ("RESONATE_TOKEN",)
NOWHERE = Path("/nonexistent")


def fresh(**changes: str | None) -> dict[str, str]:
    """Return an environment that is accepted, then changed; None takes a variable out."""
    api_key = secrets.token_urlsafe(32)
    environ: dict[str, str | None] = {
        "COUNTERSIGN_SIGNING_KEYS": secrets.token_urlsafe(32),
        "COUNTERSIGN_PUBLIC_URL": "http://localhost:8000",
        "COUNTERSIGN_PAYLOAD_KEYS": secrets.token_urlsafe(32),
        "COUNTERSIGN_API_KEYS": f"ops:{hashlib.sha256(api_key.encode()).hexdigest()}",
        "COUNTERSIGN_CALLER_SECRETS": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }

    for name, value in changes.items():
        environ[name if name in OTHERS or name.startswith("DATABRICKS_") else f"COUNTERSIGN_{name}"] = value

    return {name: value for name, value in environ.items() if value is not None}


def refusal(environ: Mapping[str, str], directory: Path = NOWHERE) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, directory)

    assert "\n" not in str(caught.value)

    return caught.value


def test_two_variables_are_enough_and_the_rest_has_the_defaults_of_the_contract(tmp_path: Path) -> None:
    key = secrets.token_bytes(32)
    text = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
    loaded = load_settings(
        {"COUNTERSIGN_SIGNING_KEYS": text, "COUNTERSIGN_PUBLIC_URL": "http://127.0.0.1:1/"}, tmp_path
    )

    assert loaded.engine.kind == "embedded"
    assert loaded.engine.path == tmp_path / ".countersign/engine.db"
    assert [one.reveal() for one in loaded.signing_keys] == [key]
    assert loaded.public_url == "http://127.0.0.1:1"
    assert loaded.payload_keys == ()
    assert loaded.name == "Countersign"
    assert loaded.api_keys == {}
    assert [str(network) for network in loaded.proxies] == ["127.0.0.0/8", "::1/128"]
    assert loaded.caller_secrets == ()
    assert loaded.sources is None
    assert loaded.workflows == ("orchestrator.workflows",)
    assert loaded.group == "default"
    assert loaded.mail.kind == "console"
    assert loaded.llm is None
    assert loaded.fetch_allow == ()
    assert (loaded.log, loaded.log_form) == ("info", "text")
    assert (loaded.host, loaded.port) == ("127.0.0.1", 8000)
    assert loaded.max_body == 65536
    assert loaded.engine_timeout == 5.0
    assert loaded.cached_workflows == 1000
    assert loaded.resonate_token is None
    assert loaded.databricks == {}


def test_every_variable_is_read(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").touch()
    loaded = load_settings(
        fresh(
            ENGINE="http://resonate:8001",
            SOURCES="sources.toml",
            WORKFLOWS="orchestrator.workflows, shop.flows",
            NAME="  Müller & Söhne <GmbH>  ",
            GROUP="DB",
            MAIL="smtp://mail.example.org?from=ops@example.org",
            LLM="http://localhost:11434/v1?model=small",
            FETCH_ALLOW="10.0.0.0/8,fd00::/8",
            LOG="debug,json",
            PROXIES="10.1.0.0/16, fd00::/8, ::ffff:192.0.2.0/120",
            HOST="::",
            PORT="0",
            MAX_BODY="1024",
            ENGINE_TIMEOUT="0.5",
            CACHED_WORKFLOWS="0",
            RESONATE_TOKEN="a.b.c",
            DATABRICKS_HOST="https://dbc.example.org",
        ),
        tmp_path,
    )

    assert loaded.engine.kind == "server"
    assert loaded.sources == tmp_path / "sources.toml"
    assert loaded.workflows == ("orchestrator.workflows", "shop.flows")
    assert loaded.name == "Müller & Söhne <GmbH>"
    assert loaded.group == "db"
    assert loaded.mail.kind == "smtp"
    assert loaded.llm is not None
    assert loaded.fetch_allow == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    assert (loaded.log, loaded.log_form) == ("debug", "json")
    assert (loaded.host, loaded.port, loaded.max_body, loaded.engine_timeout) == ("::", 0, 1024, 0.5)
    assert loaded.cached_workflows == 0
    assert loaded.resonate_token is not None
    assert loaded.resonate_token.text() == "a.b.c"
    assert loaded.databricks["DATABRICKS_HOST"].text() == "https://dbc.example.org"
    assert len(loaded.api_keys["ops"].digest) == 32
    assert loaded.api_keys["ops"].role == "operate"
    assert [str(network) for network in loaded.proxies] == ["10.1.0.0/16", "fd00::/8", "192.0.2.0/24"]


def test_the_defaults_of_settings_made_by_hand_are_those_of_the_environment(tmp_path: Path) -> None:
    loaded = load_settings(fresh(PAYLOAD_KEYS=None, API_KEYS=None, CALLER_SECRETS=None), tmp_path)
    by_hand = Settings(
        engine=loaded.engine,
        signing_keys=loaded.signing_keys,
        public_url=loaded.public_url,
        payload_keys=(),
        mail=loaded.mail,
    )

    assert by_hand == loaded


@pytest.mark.parametrize("name", ["SIGNING_KEYS", "PUBLIC_URL"])
def test_a_required_variable_that_is_missing_is_named(name: str) -> None:
    assert refusal(fresh(**{name: None})).variable == f"COUNTERSIGN_{name}"


@pytest.mark.parametrize("value", ["", " ", "\t"])
@pytest.mark.parametrize("name", [*environment.VARIABLES, "RESONATE_TOKEN"])
def test_an_empty_variable_is_refused(name: str, value: str) -> None:
    error = refusal({**fresh(), name: value})

    assert error.variable == name
    assert "empty" in error.reason


LISTS = ("SIGNING_KEYS", "PAYLOAD_KEYS", "API_KEYS", "CALLER_SECRETS", "WORKFLOWS", "FETCH_ALLOW", "PROXIES", "LOG")


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("shape", ["{},", ",{}", "{}, ,x", ","])
def test_a_blank_member_of_a_list_is_refused(name: str, shape: str) -> None:
    value = fresh().get(f"COUNTERSIGN_{name}", "x")
    error = refusal(fresh(**{name: shape.format(value)}))

    assert error.variable == f"COUNTERSIGN_{name}"
    assert "blank" in error.reason


@pytest.mark.parametrize("name", ["SIGNING_KEYS", "PAYLOAD_KEYS", "API_KEYS", "CALLER_SECRETS"])
def test_a_member_that_is_repeated_is_refused(name: str) -> None:
    environ = fresh()
    value = environ[f"COUNTERSIGN_{name}"]
    again = value.replace("ops:", "again:")

    assert refusal({**environ, f"COUNTERSIGN_{name}": f"{value},{again}"}).variable == f"COUNTERSIGN_{name}"


@pytest.mark.parametrize(
    ("name", "value"), [("WORKFLOWS", "a.b,a.b"), ("FETCH_ALLOW", "10.0.0.1,10.0.0.1/32"), ("PROXIES", "::1,::1/128")]
)
def test_what_is_no_secret_is_not_repeated_either(name: str, value: str) -> None:
    assert "twice" in refusal(fresh(**{name: value})).reason


@pytest.mark.parametrize(
    "engine", ["http://localhost:8001", "https://resonate.example.org", "postgresql://localhost/db"]
)
def test_a_remote_engine_without_a_word_on_payload_keys_is_refused(engine: str) -> None:
    assert refusal(fresh(ENGINE=engine, PAYLOAD_KEYS=None)).variable == "COUNTERSIGN_PAYLOAD_KEYS"
    assert load_settings(fresh(ENGINE=engine, PAYLOAD_KEYS="off"), NOWHERE).payload_keys == ()
    assert len(load_settings(fresh(ENGINE=engine), NOWHERE).payload_keys) == 1


@pytest.mark.parametrize("engine", ["memory://", "sqlite:///a.db"])
def test_an_embedded_engine_does_without_payload_keys_and_does_with_them(engine: str) -> None:
    assert load_settings(fresh(ENGINE=engine, PAYLOAD_KEYS=None), NOWHERE).payload_keys == ()
    assert load_settings(fresh(ENGINE=engine, PAYLOAD_KEYS="off"), NOWHERE).payload_keys == ()
    assert len(load_settings(fresh(ENGINE=engine), NOWHERE).payload_keys) == 1


def test_off_stands_alone_among_payload_keys() -> None:
    environ = fresh()
    mixed = f"off,{environ['COUNTERSIGN_PAYLOAD_KEYS']}"

    assert refusal({**environ, "COUNTERSIGN_PAYLOAD_KEYS": mixed}).variable == "COUNTERSIGN_PAYLOAD_KEYS"


def test_keys_stay_in_their_order_so_that_the_last_one_is_the_newest() -> None:
    members = [secrets.token_bytes(32) for _ in range(3)]
    value = ",".join(base64.urlsafe_b64encode(key).rstrip(b"=").decode() for key in members)

    assert [key.reveal() for key in load_settings(fresh(SIGNING_KEYS=value), NOWHERE).signing_keys] == members


def test_without_mail_configured_links_are_printed_on_a_loopback_url_only() -> None:
    assert load_settings(fresh(PUBLIC_URL="http://localhost"), NOWHERE).mail.kind == "console"
    assert load_settings(fresh(PUBLIC_URL="https://hooks.example.org"), NOWHERE).mail.kind == "none"
    assert refusal(fresh(PUBLIC_URL="https://hooks.example.org", MAIL="console:")).variable == "COUNTERSIGN_MAIL"


def test_the_certificates_to_trust_for_mail_come_from_the_environment(tmp_path: Path) -> None:
    environ = fresh(MAIL="smtps://mail.example.org?from=a@example.org")

    assert load_settings({**environ, "SSL_CERT_FILE": "/etc/ca.pem"}, tmp_path).mail.ca_file == Path("/etc/ca.pem")
    assert load_settings({**environ, "SSL_CERT_FILE": ""}, tmp_path).mail.ca_file is None


DIGEST = hashlib.sha256(b"a key").hexdigest()
BAD = {
    "ENGINE": ["sqlite", "memory:", "mysql://localhost/db", "engine.db"],
    "PUBLIC_URL": ["example.org", "ftp://example.org", "http://example.org"],
    "SOURCES": ["missing.toml", ".", "x" * 5000],
    "WORKFLOWS": ["a-b", "a..b", ".a", "a.class", "1a", "a.b;c", "a b"],
    "NAME": ["x" * 101],
    "GROUP": ["a b", "a/b", "ä", "a" * 65, "a.b"],
    "MAIL": ["console", "sendmail:", "mailto:a@example.org"],
    "LLM": ["http://localhost", "localhost?model=a", "http://localhost/v1?model=", "http://localhost?model=a&x=b"],
    "FETCH_ALLOW": ["10.0.0.1/8", "example.org", "10.0.0.0/33", "*"],
    "PROXIES": [
        *("10.0.0.1/8", "localhost", "10.0.0.0/33", "*", "::1/129", "10.0.0.0/8 192.0.2.0/24"),
        *("10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "fe80::%eth0/64"),
    ],
    "API_KEYS": [
        "ops",
        "ops:x",
        f"ops:{'a' * 32}",
        f"ops:{DIGEST}:root",
        f"ops:{DIGEST}:",
    ],
    "LOG": [
        "INFO",
        "error",
        "trace",
        "10",
        "json",
        "info,text",
        "json,info",
        "info,json,json",
        "info;json",
        "info,JSON",
    ],
    "HOST": ["a b", "[::1]", "http://localhost", "127.0.0.1:80", "1.2.3"],
    "PORT": ["-1", "65536", "8_000", "+1", "0x50", "http", "1.0", "٣"],
    "MAX_BODY": ["1023", "0", "-1", "64k", "1e6", "9" * 11],
    "ENGINE_TIMEOUT": ["0", "0.0", "-1", "nan", "inf", "300.1", "1e1", "5s"],
    "CACHED_WORKFLOWS": ["-1", "100001", "many", "1e3", "off"],
    "RESONATE_TOKEN": ["changeme", "SECRET"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_by_the_name_of_its_variable_and_not_quoted(name: str, value: str) -> None:
    error = refusal(fresh(**{name: value}))

    assert error.variable == (name if name in OTHERS else f"COUNTERSIGN_{name}")
    assert foreign(error) == set()


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "a\x1b[0m", "a\u2028b", "a\x85b", "a\udcffb"])
@pytest.mark.parametrize("name", [*environment.VARIABLES, "RESONATE_TOKEN", "DATABRICKS_TOKEN"])
def test_a_control_character_in_any_value_is_refused(name: str, value: str) -> None:
    error = refusal({**fresh(), name: value})

    assert error.variable == name
    assert str(error).isprintable()


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "\n {}\t"])
def test_white_space_around_a_value_is_removed(around: str, tmp_path: Path) -> None:
    plain = fresh()
    padded = {name: around.format(value) for name, value in plain.items()}

    assert load_settings(padded, tmp_path) == load_settings(plain, tmp_path)


WORD = re.compile(r"[^\s,:;]+")

#: Every word of the texts in the source, and the numbers there: some refusals name a limit.
OWN_WORDS = frozenset(
    word
    for file in Path(settings.__file__).parent.glob("*.py")
    for node in ast.walk(ast.parse(file.read_text("utf-8")))
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int)
    for word in WORD.findall(str(node.value))
) | {*environment.VARIABLES, *OTHERS, "DATABRICKS_TOKEN", str(1 << 30)}


def foreign(error: ConfigurationError) -> set[str]:
    """Return the words of the message that are not ours: they can only come from the value.

    To look for the value in the message would prove less, and sometimes fail: a generated value may be one of our own
    words, and a message may repeat only a part of a value.
    """
    return set(WORD.findall(str(error))) - OWN_WORDS


@pytest.mark.parametrize("quoted", ["hunter2hunter2", "https://hunter2:x@example.org", "77"])
def test_the_check_for_leaks_sees_one(quoted: str) -> None:
    assert foreign(ConfigurationError("COUNTERSIGN_PORT", f"must not be {quoted}"))


GARBAGE = st.one_of(
    st.text(max_size=80),
    st.from_regex(r"[ -~]{0,120}", fullmatch=True),
    st.from_regex(r"(https?|smtps?|sqlite|postgres(ql)?|memory|console):/{0,4}[!-~]{0,60}", fullmatch=True),
    st.from_regex(
        r"(https?|smtps?)://[a-z:%@\[\].0-9]{0,30}(/[a-z.]{0,5}){0,3}(\?(from|model)=[!-~]{0,20})?", fullmatch=True
    ),
    st.from_regex(r"(whsec_)?[A-Za-z0-9+/_-]{20,90}={0,2}(,[A-Za-z0-9_-]{43}=?)?", fullmatch=True),
    st.from_regex(r"[a-z.]{0,8}:[0-9a-f]{64}", fullmatch=True),
    st.binary(min_size=24, max_size=48).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
    st.integers(-10, 10**12).map(str),
)
ACCEPTED = fresh()


@pytest.mark.parametrize("name", [*environment.VARIABLES, "RESONATE_TOKEN", "DATABRICKS_TOKEN"])
@hypothesis_settings(max_examples=150, deadline=None)
@given(value=GARBAGE)
@pytest.mark.slow
def test_any_value_is_either_taken_or_refused_by_name_without_being_quoted(name: str, value: str) -> None:
    error = outcome({**ACCEPTED, name: value})

    if error is not None:
        assert error.variable == name
        assert str(error).isprintable()
        assert error.__cause__ is None
        assert foreign(error) == set()


def outcome(environ: Mapping[str, str]) -> ConfigurationError | None:
    try:
        load_settings(environ, NOWHERE)
    except ConfigurationError as error:
        return error

    return None


def test_nothing_secret_shows_in_the_settings_when_printed(tmp_path: Path) -> None:
    environ = fresh(
        ENGINE="postgresql://user:hunter-the-second@db.example.org/resonate?password=hunter-the-third",
        MAIL="smtp://user:hunter-the-fourth@mail.example.org?from=ops@example.org",
        LLM="https://hunter-the-fifth@api.example.org/v1?model=m",
        RESONATE_TOKEN="hunter-the-sixth",
        DATABRICKS_TOKEN="hunter-the-seventh",
    )
    printed = repr(load_settings(environ, tmp_path))

    assert "hunter" not in printed
    assert not any(environ[f"COUNTERSIGN_{name}"] in printed for name in ("SIGNING_KEYS", "PAYLOAD_KEYS", "API_KEYS"))


def test_the_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    environ = fresh()
    (tmp_path / ".env").write_text(
        "COUNTERSIGN_PORT=1111\nCOUNTERSIGN_GROUP='gpu'\nDATABRICKS_HOST=https://a.example\n"
    )
    loaded = load_settings({**environ, "COUNTERSIGN_PORT": "2222"}, tmp_path)

    assert (loaded.port, loaded.group) == (2222, "gpu")
    assert loaded.databricks["DATABRICKS_HOST"].text() == "https://a.example"


def test_a_bad_value_of_the_env_file_that_the_environment_overrides_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COUNTERSIGN_PORT=nonsense\n")

    assert load_settings(fresh(PORT="1"), tmp_path).port == 1
    assert refusal(fresh(), tmp_path).variable == "COUNTERSIGN_PORT"


def test_the_process_environment_and_the_working_directory_are_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUNTERSIGN_GROUP", "gpu")
    (tmp_path / ".env").write_text("COUNTERSIGN_LOG=debug\n")
    values = read_environment()

    assert (values["COUNTERSIGN_GROUP"], values["COUNTERSIGN_LOG"]) == ("gpu", "debug")

    for name, value in fresh().items():
        monkeypatch.setenv(name, value)

    assert load_settings().engine.path == tmp_path / ".countersign/engine.db"


INJECTED = {
    "COUNTERSIGN_SERVICE_HOST": "10.96.0.17",
    "COUNTERSIGN_SERVICE_PORT": "8000",
    "COUNTERSIGN_SERVICE_PORT_HTTP": "8000",
    "COUNTERSIGN_SERVICE_PORT_HTTP_METRICS": "9000",
    "COUNTERSIGN_PORT": "tcp://10.96.0.17:8000",
    **{
        f"COUNTERSIGN_PORT_{number}_{protocol}{rest}": value
        for number, protocol in ((8000, "TCP"), (53, "UDP"), (9, "SCTP"))
        for rest, value in {
            "": f"{protocol.lower()}://10.96.0.17:{number}",
            "_ADDR": "10.96.0.17",
            "_PORT": str(number),
            "_PROTO": protocol.lower(),
        }.items()
    },
    "COUNTERSIGN_RECEIVER_SERVICE_HOST": "fd00::17",
    "COUNTERSIGN_RECEIVER_SERVICE_PORT": "80",
    "COUNTERSIGN_RECEIVER_SERVICE_PORT_WEB": "80",
    "COUNTERSIGN_RECEIVER_PORT": "tcp://[fd00::17]:80",
    "COUNTERSIGN_RECEIVER_PORT_80_TCP": "tcp://[fd00::17]:80",
    "COUNTERSIGN_RECEIVER_PORT_80_TCP_ADDR": "fd00::17",
    "COUNTERSIGN_WEB_2_PORT": "udp://10.96.0.18:53",
}


def test_what_a_container_platform_injects_is_passed_over(tmp_path: Path) -> None:
    environ = fresh()

    assert load_settings({**environ, **INJECTED}, tmp_path) == load_settings(environ, tmp_path)


@pytest.mark.parametrize("endpoint", ["tcp://10.96.0.17:8000", "udp://10.96.0.17:53", "tcp://[fd00::17]:8000"])
def test_an_injected_port_leaves_the_one_of_the_env_file(tmp_path: Path, endpoint: str) -> None:
    (tmp_path / ".env").write_text("COUNTERSIGN_PORT=9000\n")

    assert load_settings(fresh(PORT=endpoint), tmp_path).port == 9000
    assert load_settings(fresh(PORT="8001"), tmp_path).port == 8001


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE", "x"),
        ("SERVICE_HOSTS", "10.0.0.1"),
        ("SERVICE_PORTS", "8000"),
        ("SERVICEHOST", "10.0.0.1"),
        ("HOST_SERVICE", "10.0.0.1"),
        ("PORTS", "tcp://10.0.0.1:8000"),
        ("PORT_8000", "tcp://10.0.0.1:8000"),
        ("PORT_HTTP_TCP", "tcp://10.0.0.1:8000"),
        ("PORT_8000_TCP_HOST", "10.0.0.1"),
        ("PORT_8000_tcp", "tcp://10.0.0.1:8000"),
        ("WEB_PORT", "8000"),
        ("WEB_HOST", "10.0.0.1"),
        ("PROXY", "tcp://10.0.0.1:8000"),
        ("PORT", "tcp://"),
        ("PORT", "tcp://10.0.0.1"),
        ("PORT", "tcp://10.0.0.1:8000/"),
        ("PORT", "http://10.0.0.1:8000"),
        ("PORT", ":8000"),
    ],
)
def test_what_is_only_near_to_it_stays_a_misspelt_setting_or_a_bad_value(name: str, value: str) -> None:
    assert refusal(fresh(**{name: value})).variable == f"COUNTERSIGN_{name}"
