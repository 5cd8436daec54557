# Databricks notebook source
# MAGIC %md
# MAGIC # A job that reports back
# MAGIC
# MAGIC Import this file as a notebook, put your work into `work` below, and make it the only task of a job with these
# MAGIC **job parameters** (their defaults may be empty):
# MAGIC
# MAGIC | parameter | meaning |
# MAGIC |---|---|
# MAGIC | `callback_url` | where to report; the workflow that triggers the job fills it in, or leaves it empty |
# MAGIC | `proof_scope` | optional: the secret scope that has the second factor; the next two name keys in it |
# MAGIC | `proof_key` | the key of the caller secret (`whsec_...`) |
# MAGIC | `proof_origin` | the key of the receiver's origin (`https://callbacks.example.org`): no other gets a report |
# MAGIC | `callback_timeout` | optional: for how many seconds to keep trying to report (900) |
# MAGIC | `callback_delay` | optional: seconds before the second try, doubled for each further try (1) |
# MAGIC
# MAGIC and with the parameters of your work. Leave the task's own retries at 0: a reported failure is final, and only
# MAGIC the workflow starts another attempt. Do not leave `work` with `dbutils.notebook.exit` or `sys.exit`: a run that
# MAGIC ends without a report counts as dead.
# MAGIC
# MAGIC The report goes two ways. One is the callback, if there is a `callback_url`. The other is the output of the run:
# MAGIC the notebook always leaves its result with `dbutils.notebook.exit`, and the workflow can read it there with its
# MAGIC own credentials. So the same notebook works where nothing of yours can be reached. A report that is too large
# MAGIC for the callback, or got lost in the network, is still found. Whoever may view the job can read that output.

# COMMAND ----------

"""A Databricks notebook that does its work and reports the result, or the failure, to a callback address.

It needs only Python's standard library. Everybody who has the callback address can report in this job's name. So the
address is never printed, no redirect is followed, and reports go over verified TLS only. The notebook keeps trying as
long as a retry is safe and may help, and stops as soon as the response says that retrying is pointless.

With a second factor, a report is signed for one token and one kind of report, and sent to one receiver. The receiver's
origin comes from the secret scope and not from a parameter. So somebody who may run this job with other parameters gets
no signature for another receiver. They can still leave the second factor out: then nothing is signed, and the result
goes to the address that they gave.

No `Idempotency-Key` is sent. Without one, the receiver derives the key from the token, so it recognises the same result
as the same delivery, whichever process repeats it. A key generated here would be different after a restart and turn a
harmless repetition into a conflict.

What the notebook leaves in the output of its run is one JSON object, here with more spaces than there are:

    {"countersign": 1, "outcome": "succeeded", "result": RESULT}
    {"countersign": 1, "outcome": "failed", "message": TEXT, "details": {"exception": TEXT, "traceback": TEXT}}

The first is the value of `dbutils.notebook.exit`. The second is the last line of the text of the exception that ends
the run, because a run that left by `exit` counts as successful; it is there only if the failure could not be reported
to `callback_url`. Further fields may be added; another meaning gets another number.

Long because Databricks imports a single file.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import random
import re
import ssl
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# ruff: noqa: ERA001 - a cell's "MAGIC %md" looks like a modulo operation that was commented out

# COMMAND ----------

# MAGIC %md
# MAGIC ## Your part
# MAGIC
# MAGIC `PARAMETERS` are the job parameters of your work with their defaults; all values are strings. `work` returns any
# MAGIC JSON value, better the name of a table than its rows: a callback has room for 64 KB, the output of a run for
# MAGIC 4.9 MB. An exception is reported as the failure.
# MAGIC
# MAGIC While it runs, `work` may say how far it has come, as often as it likes, with
# MAGIC `report_progress(0.4, "the second table")`. The workflow's page shows it. It never fails, and never waits.

# COMMAND ----------

PARAMETERS = {"rows": "3", "seconds": "0", "fail": ""}


# vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv  edit from here  vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv
def work(parameters: dict[str, str]) -> object:
    """Return the job's result. This example counts `rows`, sleeps for `seconds`, and fails if `fail` is not empty."""
    rows = [number * number for number in range(int(parameters["rows"]))]

    if float(parameters["seconds"]) > 0:
        report_progress(0.5, f"{len(rows)} rows counted")
        time.sleep(float(parameters["seconds"]))

    if parameters["fail"]:
        raise RuntimeError(parameters["fail"])

    return {"rows": len(rows), "sum": sum(rows)}


# ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^  edit to here  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

# COMMAND ----------

# MAGIC %md
# MAGIC ## Parameters and secrets
# MAGIC
# MAGIC In a job, they come from Databricks. In a plain program, parameters come from `name=value` arguments or from
# MAGIC `COUNTERSIGN_PARAM_NAME` in the environment, and secrets from `COUNTERSIGN_SECRET_SCOPE_KEY`.

# COMMAND ----------


def parameter(name: str, default: str = "") -> str:
    """Return a job parameter, or the default if it was not given or is empty."""
    dbutils = globals().get("dbutils")

    if dbutils is not None:
        dbutils.widgets.text(name, default)
        return str(dbutils.widgets.get(name)) or default

    given = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    return given.get(name) or os.environ.get(_variable("PARAM", name)) or default


def secret(scope: str, key: str) -> str:
    """Return a secret without surrounding white space, because `databricks secrets put-secret` may leave a newline.

    Raises ReportFailed, which says whether the scope, the key or the value is missing.
    """
    dbutils = globals().get("dbutils")

    if dbutils is None:
        variable = _variable("SECRET", scope, key)

        if variable not in os.environ:
            raise ReportFailed(f"the secret {key!r} of the scope {scope!r} is missing: {variable} is not set")

        value = os.environ[variable]
    else:
        try:
            value = str(dbutils.secrets.get(scope, key))
        except Exception as error:  # noqa: BLE001 - its type depends on the runtime; the reason is looked up below
            raise ReportFailed(_unreadable(dbutils.secrets, scope, key, type(error).__name__)) from None

    if not value.strip():
        raise ReportFailed(f"the secret {key!r} of the scope {scope!r} is empty")

    return value.strip()


def _unreadable(secrets: Any, scope: str, key: str, error: str) -> str:
    """Return why a secret cannot be read; Databricks may raise the same error for a missing scope and a missing key."""
    try:
        keys = {entry.key for entry in secrets.list(scope)}
    except Exception:  # noqa: BLE001 - as above
        return (
            f"the secret scope {scope!r} does not exist, or the identity of this run has no READ permission on it "
            f"({error})"
        )

    if key not in keys:
        return f"the secret scope {scope!r} has no key {key!r} ({error})"

    return f"the secret {key!r} of the scope {scope!r} cannot be read ({error})"


def _variable(*words: str) -> str:
    return "COUNTERSIGN_" + "_".join(re.sub(r"\W", "_", word).upper() for word in words)


# COMMAND ----------

# MAGIC %md
# MAGIC ## Reporting

# COMMAND ----------

USER_AGENT = "countersign-notebook"
FORMAT = 1
MAX_BODY = 65_536
MAX_OUTPUT = 4_900_000  # Databricks returns the first 5 MB of an output, ours included
TRY_TIMEOUT = 30.0
TRACE_TIMEOUT = 5.0
LONGEST_DELAY = 60.0
PROGRESS_PAUSE = 10.0
EXIT_PAUSE = 2.0
PROGRESS_HEADER = "countersign-progress"
MAX_MESSAGE = 200

# The statuses that Countersign returns, and what they mean here. The run is marked as failed, so that somebody looks.
MEANINGS = {
    401: "the callback token, or the proof of the caller, was not accepted",
    404: "nobody waits for this callback",
    409: "somebody else has settled this wait already, perhaps because this run was considered dead; that is final",
    410: "the wait is over: past its deadline or cancelled",
    413: "the report is too large",
    422: "another outcome was reported before, and that one is final",
}


class ReportFailed(Exception):
    """The report did not arrive, or was refused. The message never contains the address."""


class ReportLost(ReportFailed):
    """The report could not be brought there, though nothing says that it is not wanted any more."""


class WorkFailed(Exception):
    """The work failed, and that could not be reported. The last line of the text is the report, as JSON."""


@dataclass(frozen=True)
class Proof:
    """The second factor: the key of the caller secret, and the origin of the only receiver that it is meant for."""

    key: bytes = field(repr=False)
    origin: tuple[str, str, int]

    def headers(self, kind: str, token: str, nonce: str, body: bytes) -> dict[str, str]:
        """Return the Standard Webhooks headers of a report, signed now. `webhook-id` binds them to kind and token."""
        identity = f"{kind}_{hashlib.sha256(token.encode()).hexdigest()[:32]}_{nonce}"
        sent = str(int(time.time()))
        digest = hmac.new(self.key, f"{identity}.{sent}.".encode() + body, hashlib.sha256).digest()
        signature = "v1," + base64.b64encode(digest).decode()
        return {"webhook-id": identity, "webhook-timestamp": sent, "webhook-signature": signature}


@dataclass(frozen=True)
class Callback:
    """Where to report, and how. `proof` is the second factor, None if the job has none.

    `trace` is the `traceparent` of the span that the report comes from, None if this run is not traced.
    """

    url: str = field(repr=False)
    proof: Proof | None = field(default=None, repr=False)
    timeout: float = 900.0
    delay: float = 1.0
    trace: str | None = None

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            usable = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        except ValueError:
            raise ReportFailed("callback_url is not a valid address") from None

        if not usable or not re.fullmatch(r"https?://[!-~]+", self.url):
            raise ReportFailed("callback_url is missing or is not a valid address")

        if parts.query or parts.fragment:
            raise ReportFailed("callback_url must have neither a query nor a fragment")

        if parts.scheme != "https" and not _loopback(parts.hostname or ""):
            raise ReportFailed("callback_url must be https: nobody may read the token in it on the way")

        if self.proof is not None and origin(self.url) != self.proof.origin:
            raise ReportFailed(
                f"callback_url leads to {self.shown}, which is not the receiver that proof_origin names: "
                "nothing is signed for it, and nothing is sent to it"
            )

        if not (0 <= self.timeout <= 86_400 and 0 <= self.delay <= LONGEST_DELAY):  # noqa: PLR2004 - a day
            raise ReportFailed("callback_timeout or callback_delay is out of range")

    @property
    def shown(self) -> str:
        """The address without its path, which is safe to print."""
        parts = urllib.parse.urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/****"

    @property
    def token(self) -> str:
        """The last part of the address, still percent-encoded."""
        return self.url.rstrip("/").rpartition("/")[2]

    def masked(self, text: str) -> str:
        """Return `text` without this address and without its token."""
        token = self.token
        text = text.replace(self.url, self.shown)
        return text.replace(token, "****") if len(token) >= 8 else text  # noqa: PLR2004 - a token is longer

    def succeeded(self, body: bytes) -> None:
        """Report the result; return when it is recorded. Raises ReportFailed."""
        self._deliver(self.url, "succeeded", body)

    def failed(self, body: bytes) -> None:
        """Report a failure; return when it is recorded. Raises ReportFailed."""
        self._deliver(self.url.rstrip("/") + "/failure", "failed", body)

    def traceparent(self) -> str | None:
        """Return the `traceparent` of the workflow that waits, None if the receiver does not name one."""
        named = self.described("traceparent") or ""

        return named if re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", named, re.ASCII) else None

    def described(self, header: str) -> str | None:
        """Return a header of the receiver's description of this callback, empty if there is none.

        None means that the receiver is not there, or not able to say it now.
        """
        request = urllib.request.Request(self.url, headers={"User-Agent": USER_AGENT})  # noqa: S310 - checked above

        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TRACE_TIMEOUT) as response:
                return str(response.headers.get(header, ""))
        except (OSError, http.client.HTTPException) as error:
            # The report finds out for itself, and says, why the receiver does not respond.
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                return "" if error.code < 500 and error.code not in {408, 429} else None  # noqa: PLR2004

            return None

    def _deliver(self, url: str, kind: str, body: bytes) -> None:
        give_up, delay, nonce = time.monotonic() + self.timeout, self.delay, uuid.uuid4().hex

        while True:
            # Signed anew for every try: the receiver would take a late try with an early timestamp for a replay.
            asked_to_wait, what = self._try(url, body, self._proved(kind, nonce, body))

            if what is None:
                print(f"reported to {self.shown}")
                return

            # Half fixed, half random, so that runs that failed together do not retry together.
            pause = max(asked_to_wait, delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

            if time.monotonic() + pause > give_up:
                raise ReportLost(f"gave up reporting to {self.shown} within {self.timeout:g} s: {what}")

            print(f"not reported yet: {what}; trying again in {pause:.1f} s", flush=True)
            time.sleep(pause)
            delay = min(delay * 2, LONGEST_DELAY)

    def _proved(self, kind: str, nonce: str, body: bytes) -> dict[str, str]:
        if self.proof is None:
            return {}

        return self.proof.headers(kind, urllib.parse.unquote(self.token), nonce, body)

    def _try(self, url: str, body: bytes, proof: dict[str, str]) -> tuple[float, str | None]:
        """Return (0, None) if the report is recorded, otherwise the minimum wait in seconds and what went wrong."""
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **proof}

        if self.trace is not None:
            headers["traceparent"] = self.trace

        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
        opener = urllib.request.build_opener(_NoRedirect)

        try:
            with opener.open(request, timeout=TRY_TIMEOUT) as response:
                recorded = _recorded(response.read(MAX_BODY))
                return 0.0, None if recorded else "a response that is not Countersign's"
        except urllib.error.HTTPError as error:
            with error:
                status, named, after = error.code, _problem(error), error.headers.get("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)

            if isinstance(reason, ssl.SSLCertVerificationError):
                raise ReportLost(f"{self.shown} has no certificate trusted here: {reason.verify_message}") from None

            return 0.0, self.masked(f"{type(reason).__name__}: {reason}")[:200]

        # Outside the except block, so that the library's error, which may name the address, is not shown as its cause.
        what = f"{status}{named}"

        if status in {408, 429} or status >= 500:  # noqa: PLR2004
            return _seconds(after), what

        meaning = MEANINGS.get(status, "retrying is pointless")
        failure = ReportLost if status == 413 else ReportFailed  # noqa: PLR2004 - too large for that way
        raise failure(f"{self.shown} refused the report with {what}: {meaning}")


class Progress:
    """Tells the workflow how far the work has come, from a thread of its own and at a bounded rate.

    The newest report wins. Nothing that goes wrong here reaches the work. The reports carry a token of their own, which
    the receiver names, and which cannot answer for the job. Without one, or when the wait is over, no more are sent.
    """

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._newest: dict[str, object] | None = None
        self._news = threading.Condition()
        self._over = False
        self._thread: threading.Thread | None = None

    def report(self, fraction: float | None, message: str) -> None:
        """Send this report as soon as the rate allows. One that is no fraction from 0 to 1 is sent as unknown."""
        known = isinstance(fraction, (int, float)) and 0 <= fraction <= 1
        text = str(message)[:MAX_MESSAGE].encode("utf-8", "replace").decode()

        with self._news:
            self._newest = {"fraction": fraction if known else None, "message": text}
            self._news.notify()

            if self._thread is None:
                self._thread = threading.Thread(target=self._send, name="progress", daemon=True)

                with contextlib.suppress(RuntimeError):  # no thread is to be had
                    self._thread.start()
                    # Python may crash if it ends while a thread opens a connection.
                    atexit.register(self._thread.join, EXIT_PAUSE)

    def close(self) -> None:
        """Send nothing more. What is not sent by now is left out: the result follows."""
        with self._news:
            self._over = True
            self._news.notify()

    def _send(self) -> None:
        while (token := self._callback.described(PROGRESS_HEADER)) is None:
            with self._news:
                if self._news.wait_for(lambda: self._over, PROGRESS_PAUSE):
                    return

        pause: float | None = 0.0 if token else None

        while pause is not None:
            with self._news:
                self._news.wait_for(lambda: self._over, pause)
                self._news.wait_for(lambda: self._over or self._newest is not None)

                if self._over:
                    return

                newest, self._newest = self._newest, None

            pause = self._sent(str(token), newest)

    def _sent(self, token: str, newest: dict[str, object] | None) -> float | None:
        """Return the seconds until the next report may be sent, None if no further one is wanted."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            "Authorization": f"Bearer {token}",
        }
        body = json.dumps(newest).encode()
        url = self._callback.url.rstrip("/").rpartition("/")[0] + "/progress"
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - as the callback

        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TRY_TIMEOUT) as response:
                return max(float(json.loads(response.read(MAX_BODY))["next_in"]), PROGRESS_PAUSE)
        except urllib.error.HTTPError as error:
            with error:
                final = error.code < 500 and error.code not in {408, 429}  # noqa: PLR2004
                return None if final else max(_seconds(error.headers.get("Retry-After")), PROGRESS_PAUSE)
        except (OSError, http.client.HTTPException):
            return LONGEST_DELAY
        except (ValueError, LookupError, TypeError):
            return None


PROGRESS: list[Progress] = []


def report_progress(fraction: float | None, message: str = "") -> None:
    """Say how far the work has come: a fraction from 0 to 1, None if unknown, and a few words. For use in `work`."""
    for progress in PROGRESS:
        progress.report(fraction, message)


@contextlib.contextmanager
def reporting_progress(callback: Callback | None) -> Iterator[None]:
    """Let `report_progress` reach the workflow that waits, if there is a callback, as long as the work runs."""
    PROGRESS[:] = [] if callback is None else [Progress(callback)]

    try:
        yield
    finally:
        for progress in PROGRESS:
            progress.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would carry the token to an address that nobody configured."""

    def redirect_request(self, *_: object) -> None:
        return None


def origin(address: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an http(s) address in normalised spelling. The rest of the address is ignored.

    Raises ValueError if it is not such an address, or names a user.
    """
    parts = urllib.parse.urlsplit(address)
    host, port = parts.hostname, parts.port

    if not re.fullmatch(r"(?i:https?)://[!-~]+", address) or not host or port == 0 or "@" in parts.netloc:
        raise ValueError("not an http or https address, or one with a user")

    with contextlib.suppress(ValueError):
        host = ipaddress.ip_address(host).compressed

    return parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _recorded(content: bytes) -> bool:
    """Return True for Countersign's own response, also to a repetition; a proxy's sign-in page is not a receipt."""
    try:
        receipt = json.loads(content)
    except ValueError:
        return False

    return isinstance(receipt, dict) and receipt.get("state") == "settled"


def _problem(error: urllib.error.HTTPError) -> str:
    """Return the problem's name in brackets, or nothing if the response has none."""
    try:
        name = json.loads(error.read(MAX_BODY))["type"].removeprefix("urn:countersign:")
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError):
        return ""

    return f" ({name})" if re.fullmatch(r"[a-z-]{1,40}", name) else ""


def _seconds(retry_after: str | None) -> float:
    """Return a Retry-After in seconds; 0 if there is none or it cannot be read."""
    if retry_after is None:
        return 0.0

    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)

    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


# COMMAND ----------

# MAGIC %md
# MAGIC ## The run

# COMMAND ----------


def connect() -> Callback | None:
    """Return the callback that the job's parameters describe; None if only the output of the run is read.

    Raises ReportFailed if they cannot be used.
    """
    if not parameter("callback_url") and in_job():
        return None

    timeout, delay = float(parameter("callback_timeout", "900")), float(parameter("callback_delay", "1"))
    return Callback(parameter("callback_url"), second_factor(), timeout, delay)


def second_factor() -> Proof | None:
    """Return the proof that the job's parameters name, None if they name none. Raises ReportFailed."""
    named = {name: parameter(name) for name in ("proof_scope", "proof_key", "proof_origin")}

    if not any(named.values()):
        return None

    missing = [name for name, value in named.items() if not value]

    if missing:
        raise ReportFailed(
            f"the parameter {' and '.join(missing)} is missing: without all of proof_scope, proof_key and "
            "proof_origin nothing is signed, and nothing is sent"
        )

    scope = named["proof_scope"]
    return Proof(_caller_key(scope, named["proof_key"]), _receiver_origin(scope, named["proof_origin"]))


def _caller_key(scope: str, key: str) -> bytes:
    text = secret(scope, key)

    try:
        material = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        material = b""

    if not text.startswith("whsec_") or not 24 <= len(material) <= 64:  # noqa: PLR2004 - the receiver's limits
        raise ReportFailed(
            f"the secret {key!r} of the scope {scope!r}, which proof_key names, is malformed: "
            "whsec_ and base64 of 24 to 64 bytes are expected"
        )

    return material


def _receiver_origin(scope: str, key: str) -> tuple[str, str, int]:
    try:
        return origin(secret(scope, key))
    except ValueError:
        raise ReportFailed(
            f"the secret {key!r} of the scope {scope!r}, which proof_origin names, is malformed: "
            "an origin such as https://callbacks.example.org is expected"
        ) from None


def encode(result: object, limit: int = MAX_BODY) -> bytes:
    """Return the result as JSON. Raises TypeError or ValueError if it is not JSON, or has more bytes than `limit`."""
    try:
        body = json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("the result is nested too deeply") from None

    if len(body) > limit:
        raise ValueError(
            f"the result has {len(body)} bytes of JSON, but at most {limit} can be sent: store it, and return where"
        )

    return body


def describe(error: Exception, masked: Callable[[str], str]) -> dict[str, object]:
    """Return the failure report, at most about 10 KB: what was raised and where, without the value of any variable."""
    kind = type(error).__name__
    # `limit=-8` keeps the innermost frames. Only code is quoted, never locals.
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-8))
    details = {"exception": kind, "traceback": masked(trace)[-4000:]}
    return {"message": masked(f"{kind}: {error}")[:500], "details": details}


@contextlib.contextmanager
def traced(callback: Callback | None) -> Iterator[Callback | None]:
    """Make this run a part of the workflow's trace, if the standard variables say that the run is traced.

    `TRACEPARENT` in the environment then names the trace for what the work starts. Where OpenTelemetry is installed and
    set up, the work is a span below the workflow's, and the report names that span.
    """
    trace = None

    # https://opentelemetry.io/docs/specs/otel/protocol/exporter/
    if callback is not None and any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        trace = callback.traceparent()

    if callback is None or trace is None:
        yield callback
        return

    os.environ["TRACEPARENT"] = trace

    try:
        from opentelemetry import propagate  # noqa: PLC0415 - it may be missing
        from opentelemetry.trace import get_tracer  # noqa: PLC0415
    except ImportError:
        yield replace(callback, trace=trace)
        return

    span = get_tracer(USER_AGENT).start_as_current_span(
        "work", context=propagate.extract({"traceparent": trace}), record_exception=False
    )

    with span:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        yield replace(callback, trace=headers.get("traceparent", trace))


def main() -> str | None:
    """Work and report; return what is to be left in the output of the run, None outside Databricks.

    Raises the work's exception, WorkFailed or ReportFailed, so that the run is marked as failed.
    """
    with traced(connect()) as callback:
        return work_and_report(callback)


def work_and_report(callback: Callback | None) -> str | None:
    """Do the work and report its result or its exception. Returns and raises as `main` does."""
    try:
        with reporting_progress(callback):
            result = work({name: parameter(name, default) for name, default in PARAMETERS.items()})

        body = encode(result, MAX_OUTPUT if in_job() else MAX_BODY)
    except Exception as error:
        report_failure(error, callback)
        raise

    if callback is not None:
        report_result(body, callback)

    if not in_job():
        return None

    return f'{{"countersign": {FORMAT}, "outcome": "succeeded", "result": {body.decode()}}}'


def report_result(body: bytes, callback: Callback) -> None:
    """Report a result to the callback, unless it is only left in the output. Raises ReportFailed."""
    if len(body) > MAX_BODY:
        print(f"the result has {len(body)} bytes, too many for a callback: it is left in the output of the run")
        return

    try:
        callback.succeeded(body)
    except ReportLost as lost:
        if not in_job():
            raise

        print(f"the result could not be reported, and is left in the output of the run: {lost}")


def report_failure(error: Exception, callback: Callback | None) -> None:
    """Report a failure of the work. Raises WorkFailed if the report was lost, so that it is in the run's output."""
    if callback is None:
        return

    report = describe(error, callback.masked)

    try:
        callback.failed(json.dumps(report, ensure_ascii=False).encode("utf-8", "replace"))
    except ReportFailed as refusal:
        print(f"the failure could not be reported: {refusal}")

        if isinstance(refusal, ReportLost) and in_job():
            left = json.dumps({"countersign": FORMAT, "outcome": "failed", **report})
            raise WorkFailed(f"{report['message']}\n{left}") from error


def in_job() -> bool:
    """Return whether this runs as a job's notebook, whose output can be read."""
    return hasattr(globals().get("dbutils"), "notebook")


def leave(output: str | None) -> None:
    """End the run well, with this output."""
    if output is not None:
        globals()["dbutils"].notebook.exit(output)


# COMMAND ----------

if __name__ == "__main__":
    leave(main())
