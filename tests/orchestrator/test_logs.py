"""The log: one masked line per record, whatever is logged and however it goes wrong.

Long because every form of the log is given the same records and the same faults.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer, URLSafeTimedSerializer
from pydantic import BaseModel
from resonate.observability import BackgroundTaskFailed, Dropped

from orchestrator.engine.sdk_events import observe
from orchestrator.errors import StepUnavailable, WorkflowFailed
from orchestrator.logs import ACCESS, Form, _JsonFormatter
from orchestrator.text.display import escape_unprintable
from orchestrator.text.redaction import REDACTED, redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Start

TOKEN = "eyJ2IjoxLCJwIjoicGlwZWxpbmUuMTox.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"
BASE64_TOKEN = "W3sicCI6InBpcGVsaW5lLjE6MSJ9XQ_-.Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param(f"called {TOKEN}", f"called {REDACTED}", id="token"),
        pytest.param(f"called {BASE64_TOKEN}", f"called {REDACTED}", id="token of another shape"),
        pytest.param(f"{TOKEN}{TOKEN}", None, id="two tokens joined"),
        pytest.param(
            f"GET https://host/callbacks/{TOKEN}?a=1", f"GET https://host/callbacks/{REDACTED}?a=1", id="link"
        ),
        pytest.param(f"callback_url=https%3A%2F%2Fh%2Fcallbacks%2F{TOKEN}", None, id="link in a query"),
        pytest.param(f"{{'callback_url': 'https://h/{TOKEN}'}}", None, id="link in a dict"),
        pytest.param(TOKEN[:40], REDACTED, id="token cut short"),
        pytest.param("Authorization: Bearer abc", f"Authorization: Bearer {REDACTED}", id="bearer"),
        pytest.param(
            "[(b'authorization', b'bearer abc')]", f"[(b'authorization', b'bearer {REDACTED}')]", id="raw header"
        ),
        pytest.param("Authorization: Basic dXNlcjpwYXNz", f"Authorization: Basic {REDACTED}", id="basic"),
        pytest.param("key whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD/=", f"key {REDACTED}", id="webhook secret"),
        pytest.param("postgresql://me:s3cret@db/x", f"postgresql://{REDACTED}@db/x", id="userinfo"),
        pytest.param("smtp://me:p@ss@mail:587", f"smtp://{REDACTED}@mail:587", id="userinfo with an at sign"),
        pytest.param("http://me@host", f"http://{REDACTED}@host", id="user alone"),
        pytest.param("host=db password=s3cret user=me", f"host=db password={REDACTED} user=me", id="conninfo"),
        pytest.param("?token=abc&x=1", f"?token={REDACTED}&x=1", id="token parameter"),
        pytest.param("dapi0123456789abcdef0123456789abcdef", REDACTED, id="Databricks token"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, kept: str | None) -> None:
    masked = redact(text)

    assert REDACTED in masked
    assert "Zm9vYmFy" not in masked
    assert "eyJ2" not in masked
    assert kept is None or masked == kept


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), min_size=1), st.binary(min_size=1))
def test_any_token_of_the_signing_library_is_masked(claims: dict[str, str], key: bytes) -> None:
    for kind in (URLSafeSerializer, URLSafeTimedSerializer):
        signer: Any = kind(key, signer_kwargs={"digest_method": hashlib.sha256})
        text: str = signer.dumps({"callback": "wait", "claims": claims})
        signature = text.rpartition(".")[2]

        assert signature not in redact(f"got {text} from somebody")


@pytest.mark.parametrize(
    "text",
    [
        "POST /callbacks/{token} 200 1.2ms promise=databricks_pipeline.nightly-2026-11-21:1 callback=job",
        "receiver.http.request_guard.RequestGuard at /usr/lib/python3/site-packages/receiver/guards.py:80 _serve",
        "engine at http://127.0.0.1:8001/path?x=1 answered",
        "a digest e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 stands alone",
        "mail for the approver of order 7 was sent",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text
    assert escape_unprintable(text) == text


@given(st.text())
@example("a\r\nb\x00\x1b[2J\x7f\x85\u2028\u2029\u202e\ud800")
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = escape_unprintable(text)

    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    line.encode()


def test_a_record_is_one_line_with_its_traceback_and_without_secrets(start: Start) -> None:
    stream = start("debug")

    def fail() -> None:
        try:
            dict[str, str]()[TOKEN]
        except KeyError as error:
            raise ValueError(f"line one\nBearer {TOKEN}\r\n\x1b[31mred") from error

    try:
        fail()
    except ValueError:
        logging.getLogger("receiver.x").exception("went wrong:\n%s and %s", TOKEN, {"url": f"http://u:p@h/{TOKEN}"})

    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert rf"went wrong:\n{REDACTED} and" in text
    assert f"builtins.ValueError at {__file__}:" in text
    assert f" <- builtins.KeyError at {__file__}:" in text
    assert "line one" not in text
    assert "eyJ" not in text
    assert "u:p" not in text


def test_a_secret_put_together_from_arguments_is_masked(start: Start) -> None:
    stream = start("debug")
    head, _, signature = TOKEN.partition(".")
    logging.getLogger("receiver.x").info("%s.%s", head, signature)

    assert REDACTED in stream.getvalue()
    assert signature not in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_access_line_with_an_exception_is_masked_like_any_other(start: Start, form: Form) -> None:
    stream = start("info", form)
    logging.getLogger(ACCESS).error("broke at %s", TOKEN, exc_info=ValueError())

    assert f"broke at {REDACTED}" in stream.getvalue()


def test_text_that_another_handler_cached_is_not_trusted(start: Start) -> None:
    stream = start("debug")
    error = ValueError(TOKEN)
    failure = (ValueError, error, None)
    record = logging.getLogger("receiver.x").makeRecord("receiver.x", logging.ERROR, "x.py", 1, "failed", (), failure)
    record.exc_text = f"hoarded {TOKEN}"
    logging.getLogger("receiver.x").handle(record)

    assert "hoarded" not in stream.getvalue()
    assert TOKEN not in stream.getvalue()


def test_a_record_that_cannot_be_formatted_does_not_print_its_arguments(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = start("debug")
    logging.getLogger("receiver.x").info("%d", TOKEN)

    line = stream.getvalue()
    assert line.endswith(" ERROR orchestrator.logs a record of logger receiver.x could not be written: TypeError\n")
    assert line.count("\n") == 1
    assert TOKEN not in "".join(capsys.readouterr())


def test_a_closed_standard_error_is_no_further_trouble(start: Start) -> None:
    stream = start("debug")
    stream.close()
    logging.getLogger("receiver.x").info("nobody hears this")


def test_at_debug_only_our_own_loggers_speak_at_debug(start: Start) -> None:
    start("debug")
    quiet = {
        "resonate": logging.INFO,
        "resonate.transport": logging.ERROR,
        "resonate_pg.connection": logging.INFO,
        "someone.else": logging.INFO,
        "httpx2": logging.WARNING,
        "httpcore2.http11": logging.WARNING,
        "httpx": logging.WARNING,
        "databricks.sdk": logging.WARNING,
        "urllib3.connectionpool": logging.WARNING,
        "aiohttp.client": logging.WARNING,
        "psycopg.pool": logging.WARNING,
        "asyncio": logging.WARNING,
        "receiver.x": logging.DEBUG,
        "orchestrator.callbacks": logging.DEBUG,
    }

    assert {name: logging.getLogger(name).getEffectiveLevel() for name in quiet} == quiet


def test_the_server_s_access_log_is_off(start: Start) -> None:
    stream = start("debug")
    access = logging.getLogger("uvicorn.access")
    access.warning('%s - "GET /callbacks/%s"', "192.0.2.1", "path")

    assert not access.hasHandlers()
    assert stream.getvalue() == ""


def test_at_warning_everything_below_is_silent(start: Start) -> None:
    stream = start("warning")
    for name in ("receiver.x", "orchestrator", "resonate", "other"):
        logging.getLogger(name).info("quiet")

    assert stream.getvalue() == ""


def test_configuring_twice_leaves_one_handler(start: Start) -> None:
    start("info")
    stream = start("info")
    logging.getLogger("receiver.x").info("once")

    assert stream.getvalue().count("once") == 1


def test_warnings_are_logged_as_lines(start: Start) -> None:
    stream = start("debug")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"deprecated\n{TOKEN}", UserWarning, stacklevel=1)

    assert stream.getvalue().count("\n") == 1
    assert r"deprecated\n[redacted]" in stream.getvalue()


def test_an_exception_nobody_caught_ends_in_one_masked_line(start: Start) -> None:
    stream = start("debug")

    def fail() -> None:
        raise ValueError(TOKEN)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    quiet = threading.Thread(target=sys.exit)
    quiet.start()
    quiet.join()

    assert stream.getvalue().count("\n") == 1
    assert "builtins.ValueError at " in stream.getvalue()


@pytest.mark.parametrize(
    ("failure", "last"),
    [
        (f"raise ValueError('{TOKEN}')", "builtins.ValueError at <string>:3 <module>"),
        ("raise KeyboardInterrupt", ""),
    ],
)
@pytest.mark.slow
def test_a_process_that_dies_of_an_exception_prints_one_masked_line(failure: str, last: str) -> None:
    program = f"from orchestrator.logs import configure_logging\nconfigure_logging('info')\n{failure}\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stderr.count("\n") == (1 if last else 0)
    assert done.stderr.strip().endswith(last)
    assert TOKEN not in done.stderr


# -- one JSON object a line ---------------------------------------------------


def entries(text: str) -> list[dict[str, Any]]:
    """Check that every line is an object in ASCII with the members that all have, and return the objects."""
    assert text.isascii()
    assert text.endswith("\n")
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    for entry in found:
        assert list(entry)[:4] == ["time", "level", "logger", "message"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])

    return found


def test_in_json_a_record_is_one_object_on_one_line(start: Start) -> None:
    stream = start("info", "json")
    logging.getLogger("receiver.x").warning('a %s\r\n{"forged": 1}\u2028\x1b[31m é \ud800', "b")
    (entry,) = entries(stream.getvalue())

    assert (entry["level"], entry["logger"]) == ("WARNING", "receiver.x")
    assert entry["message"] == r'a b\r\n{"forged": 1}\u2028\x1b[31m é \ud800'
    assert stream.getvalue().count("\n") == 1


def test_in_json_what_is_said_of_an_exception_is_inside_the_object(start: Start) -> None:
    stream = start("info", "json")

    def fail() -> None:
        raise ValueError(f"one\n\x1b[31mtwo {TOKEN}")

    try:
        fail()
    except ValueError:
        logging.getLogger("receiver.x").exception("failed with %s", TOKEN)

    logging.getLogger("receiver.x").info("stack", stack_info=True)
    failed, stacked = entries(stream.getvalue())

    assert failed["message"] == f"failed with {REDACTED}"
    assert failed["exception"].startswith("builtins.ValueError at ")
    assert "one" not in failed["exception"].partition(" in ")[2]
    assert stacked["stack"].startswith("Stack (most recent call last):\n")
    assert "eyJ" not in stream.getvalue()


def test_in_json_the_fields_of_a_record_are_members_and_replace_none(start: Start) -> None:
    stream = start("info", "json")
    fields = {"by": "nightly\n", "ms": 1.25, "message": "forged", "time": "forged"}
    logging.getLogger("receiver.access").info("said", extra={"fields": fields})
    (entry,) = entries(stream.getvalue())

    assert (entry["message"], entry["by"], entry["ms"]) == ("said", r"nightly\n", 1.25)


def test_in_json_a_field_holds_no_secret_and_no_line_of_its_own(start: Start) -> None:
    stream = start("info", "json")
    fields = {"error": f"refused Bearer {TOKEN}\nsecond line", "seconds": 0.5}
    logging.getLogger("orchestrator.x").warning("it ended", extra={"fields": fields})
    entry = json.loads(stream.getvalue())

    assert TOKEN not in stream.getvalue()
    assert entry["error"].startswith("refused Bearer [redacted]")
    assert "\n" not in entry["error"]
    assert entry["seconds"] == 0.5


def test_in_json_what_cannot_be_written_is_an_object_too(start: Start) -> None:
    stream = start("info", "json")
    logging.getLogger("receiver.x").info("%d", TOKEN)
    logging.getLogger("receiver.x").info("x", extra={"fields": {"a": object()}})

    assert [(entry["level"], entry["message"]) for entry in entries(stream.getvalue())] == [
        ("ERROR", "a record of logger receiver.x could not be written: TypeError")
    ] * 2


@given(st.text(), st.text())
def test_in_json_any_text_stays_inside_its_object(message: str, error: str) -> None:
    formatter = _JsonFormatter()
    odd = type("Odd\x1b\u2028", (ValueError,), {})(error)
    record = logging.makeLogRecord(
        {"name": message, "msg": "%s", "args": (message,), "exc_info": (type(odd), odd, None)}
    )
    (entry,) = entries(formatter.format(record) + "\n")

    assert entry["message"].isprintable()
    assert entry["logger"].isprintable()
    assert all(line.isprintable() for line in entry["exception"].split("\n"))


@pytest.mark.slow
def test_in_json_every_line_of_a_process_is_one() -> None:
    program = (
        "import warnings, threading\nfrom orchestrator.logs import configure_logging\n"
        f"configure_logging('info', 'json')\nwarnings.warn('{TOKEN}')\n"
        "threading.Thread(target=lambda: 1 / 0).start()\n"
        "class Broken:\n    def __del__(self): raise ValueError('ignored')\n"
        "Broken()\nraise ValueError('last')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert {entry["level"] for entry in entries(done.stderr)} == {"WARNING", "CRITICAL", "ERROR"}
    assert len(entries(done.stderr)) == 4
    assert TOKEN not in done.stderr


BODY = "s3cretbody"


class Price(BaseModel):
    """A model."""

    cents: int


def of_a_call() -> Exception:
    try:
        return AssertionError(int(BODY))
    except ValueError as error:
        return error


def of_a_chain() -> Exception:
    group = ExceptionGroup(BODY, [KeyError(BODY), of_a_call()])
    group.add_note(BODY)
    error = RuntimeError(BODY)
    error.__cause__ = group

    return error


def of_a_model() -> Exception:
    try:
        return AssertionError(Price.model_validate({"cents": BODY}))
    except ValueError as error:
        return error


@pytest.mark.parametrize("make", [of_a_call, of_a_chain, of_a_model, lambda: json.JSONDecodeError(BODY, BODY, 0)])
@pytest.mark.parametrize("name", ["orchestrator.x", "resonate.core", "uvicorn.error", "asyncio", "somebody"])
def test_whoever_logs_an_exception_its_text_is_not_in_the_log(
    start: Start, name: str, make: Callable[[], BaseException]
) -> None:
    stream = start("debug")
    logger, error = logging.getLogger(name), make()
    logger.error("it failed", exc_info=error)
    logger.error("it failed: %s", error)
    logger.error("%s failed: %r", name, error)
    logger.error(error)
    logger.error("%(error)s", {"error": error})

    assert BODY not in stream.getvalue()
    assert stream.getvalue().count(type(error).__name__) == 5


def test_an_error_of_ours_is_made_to_be_read_unless_its_text_is_a_workflow_s(start: Start) -> None:
    stream = start("info")
    logger = logging.getLogger("orchestrator.x")
    logger.warning("not done: %s", StepUnavailable("Databricks did not answer in time"))
    logger.warning("not done: %s", WorkflowFailed(BODY))

    assert "not done: Databricks did not answer in time" in stream.getvalue()
    assert "not done: orchestrator.errors.WorkflowFailed" in stream.getvalue()
    assert BODY not in stream.getvalue()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.slow
def test_what_a_loop_says_of_a_task_or_call_that_broke_holds_no_text(loop: str) -> None:
    program = f"""
import asyncio, gc, importlib
from orchestrator.logs import configure_logging

class Ignored:
    def __del__(self):
        raise ValueError("{BODY}")

async def fail():
    raise ValueError("{BODY}")

def called(argument):
    raise KeyError(argument)

class Shown:
    def __repr__(self):
        return "<Shown {BODY}>"

    def __call__(self):
        raise KeyError(self)

async def main():
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 0
    asyncio.create_task(fail())
    loop.call_soon(called, "{BODY}")
    loop.call_soon(Shown())
    await asyncio.sleep(0.01)
    gc.collect()
    Ignored()

configure_logging("info")
asyncio.Runner(debug=True, loop_factory=importlib.import_module("{loop}").new_event_loop).run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert BODY not in ended.stderr
    assert "ERROR asyncio Task exception was never retrieved\\nbuiltins.ValueError at <string>:" in ended.stderr
    assert ended.stderr.count("ERROR asyncio Exception in callback ") == 2
    assert "WARNING asyncio Executing " in ended.stderr
    assert "an exception was ignored\\nbuiltins.ValueError at <string>:" in ended.stderr


def test_a_warning_about_a_model_does_not_show_what_is_in_it(start: Start) -> None:
    stream = start("info")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        Price.model_construct(cents=BODY).model_dump_json()

    assert "Expected `int`" in stream.getvalue()
    assert BODY not in stream.getvalue()


def test_what_the_sdk_swallows_is_logged_without_what_it_was_working_on(start: Start) -> None:
    stream = start("debug")

    for event in (
        BackgroundTaskFailed(cause=f"serialization error: input_value='{BODY}'"),
        BackgroundTaskFailed(cause=BODY),
        BackgroundTaskFailed(cause=f"server error (code=409): {BODY}"),
        Dropped(what="preload-record", id="a.b:1", cause=f"base64 decode error: {BODY}"),
    ):
        observe(event)

    assert BODY not in stream.getvalue()
    assert "a task of the SDK failed: serialization error\n" in stream.getvalue()
    assert "preload-record of a.b:1: base64 decode error\n" in stream.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_a_process_ends_well_although_standard_error_takes_nothing(where: str) -> None:
    program = (
        "import logging, orchestrator.logs as logs; logs.configure_logging('info');"
        "logging.getLogger('receiver').info('nobody reads this'); logs.release_standard_error();"
        "import os; os.dup(2); os.dup(1); os.dup(0)"  # none of them is left for another file
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {where}', sys.executable, program]

    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    assert subprocess.run(command, check=False, env=buffered).returncode == 0
