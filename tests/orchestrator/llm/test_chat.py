"""Asking a model over HTTP: what is sent, which answers count, and what a failure says and does not say."""

from __future__ import annotations

import json
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from support.chatting import KEY, MODEL, SILENCE, Answer, answer, chat_server, says, streams

from orchestrator.config.secret import Secret
from orchestrator.counts import Counts
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.llm.chat import LanguageModel, Limits

if TYPE_CHECKING:
    from orchestrator.llm.chat import Message
    from orchestrator.llm.replies import Reply

SAID: list[Message] = [{"role": "user", "content": "A page about keys."}]
QUICK = Limits(silence=0.2, total=0.6, size=20_000)


async def asked(*script: Answer, limits: Limits = QUICK, counts: Counts | None = None) -> Reply:
    async with chat_server(script) as server:
        return await LanguageModel(Secret(server.setting), limits=limits, counts=counts).ask(SAID, key="one")


async def failed(*script: Answer, limits: Limits = QUICK) -> StepRefused | StepUnavailable:
    with pytest.raises((StepRefused, StepUnavailable)) as raised:
        await asked(*script, limits=limits)

    assert isinstance(raised.value, StepRefused | StepUnavailable)
    assert not isinstance(raised.value.__context__, httpx2.HTTPError)
    return raised.value


async def test_the_request_has_the_model_the_conversation_and_the_key_as_bearer() -> None:
    async with chat_server() as server:
        model = LanguageModel(Secret(server.setting))
        assert (await model.ask(SAID, key="promise.1:2")).text == "Summary 1."
        (call,) = server.calls

    assert model.name == MODEL
    assert call.path == "/v1/chat/completions"
    assert call.body == {"model": MODEL, "messages": SAID, "stream": True}
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["idempotency-key"] == "promise.1:2"
    assert call.headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("address", "path", "model", "authorization"),
    [
        ("http://127.0.0.1:{}?model=a", "/chat/completions", "a", None),
        ("http://127.0.0.1:{}/v1/?model=a", "/v1/chat/completions", "a", None),
        ("http://user:k%2Fy@127.0.0.1:{}/v1?model=org%2Fm+1", "/v1/chat/completions", "org/m+1", "Bearer k/y"),
        (
            "http://k%40y@127.0.0.1:{}/serving-endpoints?model=a/b",
            "/serving-endpoints/chat/completions",
            "a/b",
            "Bearer k@y",
        ),
    ],
)
async def test_the_address_says_where_as_what_and_for_whom(
    address: str, path: str, model: str, authorization: str | None
) -> None:
    async with chat_server() as server:
        await LanguageModel(Secret(address.format(server.port))).ask(SAID, key="one")
        (call,) = server.calls

    assert (call.path, call.body["model"], call.headers.get("authorization")) == (path, model, authorization)


@pytest.mark.parametrize("given", [says("Keys open doors."), streams("Keys open doors.")])
async def test_an_answer_counts_in_one_piece_and_as_a_stream(given: Answer) -> None:
    assert (await asked(given)).text == "Keys open doors."


@pytest.mark.parametrize(
    "given",
    [
        streams("Keys open", reason=None, done=False),
        answer(200, says("Keys open doors.").data.partition(b"\r\n\r\n")[2][:-20], length=200),
        answer(200, b"<html>Welcome to the hotel</html>"),
        answer(200, b""),
        answer(200, b"{}"),
        answer(500, b"<html>"),
        answer(503),
        answer(408),
        answer(429),
        Answer(data=b""),
        Answer(data=b"SSH-2.0-dropbear\r\n"),
    ],
)
async def test_half_an_answer_and_what_is_none_may_be_asked_for_again(given: Answer) -> None:
    assert isinstance(await failed(given), StepUnavailable)


@pytest.mark.parametrize("status", [301, 308, 400, 401, 403, 404, 422])
async def test_a_refusal_is_final_and_no_redirect_is_followed(status: int) -> None:
    async with chat_server() as elsewhere:
        error = await failed(answer(status, location=f"http://127.0.0.1:{elsewhere.port}/"))

    assert isinstance(error, StepRefused)
    assert str(status) in str(error)
    assert ("COUNTERSIGN_LLM must name" in str(error)) == (status < 400)
    assert elsewhere.calls == []


async def test_no_proxy_and_no_login_of_the_environment_gets_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password eve")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async with chat_server() as proxy, chat_server() as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        await LanguageModel(Secret(server.setting.replace(f"{KEY}@", ""))).ask(SAID, key="one")

    assert proxy.calls == []
    assert "authorization" not in server.calls[0].headers


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("Thu, 01 Jan 2099 00:00:00 GMT", 2_000_000), ("soon", None), ("-1", None)]
)
async def test_the_time_that_a_server_names_is_kept(header: str, seconds: float | None) -> None:
    error = await failed(answer(429, retry_after=header))
    assert isinstance(error, StepUnavailable)

    if seconds is None:
        assert error.retry_after is None
    else:
        assert error.retry_after is not None
        assert error.retry_after >= seconds


async def test_a_server_that_says_nothing_is_given_up() -> None:
    assert "silent" in str(await failed(SILENCE))
    head = streams("Keys open").data[:-40]
    assert "silent" in str(await failed(Answer(data=head, hangs=True)))


async def test_a_server_that_never_ends_is_given_up_by_time_and_by_size() -> None:
    endless = answer(200, b"data: {}\n\n" * 5000)
    assert isinstance(await failed(endless), StepRefused)
    assert "in time" in str(await failed(SILENCE, limits=Limits(silence=30, total=0.2)))


async def test_an_error_repeats_a_servers_word_and_nothing_else() -> None:
    message = f"Incorrect API key {KEY} for A page about keys."
    body: dict[str, Any] = {"error": {"message": message, "code": "invalid_api_key"}}
    error = await failed(answer(401, json.dumps(body).encode()))

    assert str(error) == "the model's server answered 401 (invalid_api_key)"

    body["error"]["code"] = KEY
    assert str(await failed(answer(401, json.dumps(body).encode()))) == "the model's server answered 401"


async def test_the_key_is_in_no_log_line_and_in_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "orchestrator"):
        await failed(answer(500))
        await asked()

    model = LanguageModel(Secret(f"https://{KEY}@models.example.org/v1?model=m"))
    assert KEY not in caplog.text + repr(model) + repr(vars(model))


async def test_calls_are_counted_by_what_became_of_them() -> None:
    counts = Counts()
    await asked(says("Keys."), counts=counts)

    for given in (answer(500), answer(400)):
        with pytest.raises((StepRefused, StepUnavailable)):
            await asked(given, counts=counts)

    assert counts.of("model_calls") == {("ok",): 1, ("unavailable",): 1, ("refused",): 1}


async def test_an_address_where_nobody_listens_may_be_tried_again() -> None:
    async with chat_server() as server:
        setting = server.setting

    with pytest.raises(StepUnavailable, match="could not be reached"):
        await LanguageModel(Secret(setting)).ask(SAID, key="one")


async def test_a_certificate_that_nobody_vouches_for_is_said(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async with chat_server(tls=context) as server:
        address = server.setting.replace("http://", "https://").replace("127.0.0.1", "localhost")

        with pytest.raises(StepUnavailable, match="certificate that is not trusted"):
            await LanguageModel(Secret(address)).ask(SAID, key="one")

        assert server.calls == []


async def test_without_a_setting_there_is_no_model() -> None:
    assert LanguageModel().name is None

    with pytest.raises(StepRefused, match="COUNTERSIGN_LLM"):
        await LanguageModel().ask(SAID, key="one")
