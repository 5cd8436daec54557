# Databricks notebook source
# MAGIC %md
# MAGIC # A job that reports back
# MAGIC
# MAGIC Import this file as a notebook, put your work into `work` below, and make it the only task of a job with these
# MAGIC **job parameters** (their defaults may be empty):
# MAGIC
# MAGIC | parameter | meaning |
# MAGIC |---|---|
# MAGIC | `callback_url` | where to report; the workflow that triggers the job fills it in |
# MAGIC | `proof_scope`, `proof_key` | optional: the secret scope and key that hold the caller secret (`whsec_...`) |
# MAGIC | `callback_timeout` | optional: seconds to go on trying to report (900) |
# MAGIC | `callback_delay` | optional: seconds before the second try, doubled from then on (1) |
# MAGIC
# MAGIC and with those your work takes. Leave the task's own retries at 0: a failure that was reported is final, and a
# MAGIC further attempt is the workflow's to start. Do not leave `work` by `dbutils.notebook.exit` or `sys.exit`: a run
# MAGIC that ends without a report counts as died.

# COMMAND ----------

"""A Databricks notebook that does its work and reports the result, or the failure, to a callback address.

It needs nothing but Python's standard library. Whoever holds the callback address can answer in this job's name, so it
is never printed, follows no redirect and goes over verified TLS only. It refuses to give up while asking again is safe
and may help, and to go on once it is told that asking again is no use.

No `Idempotency-Key` is sent. Without one the receiver derives the key from the token, so the same result is recognised
as the same delivery by whichever process repeats it; a key made up here would be another one after a restart, and turn
a harmless repetition into a conflict.
"""

from __future__ import annotations

import base64
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
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field

# ruff: noqa: ERA001 - a cell's "MAGIC %md" looks like a modulo that was commented out

# COMMAND ----------

# MAGIC %md
# MAGIC ## Your part
# MAGIC
# MAGIC `PARAMETERS` are the job parameters your work takes, with their defaults; all are text. `work` returns any JSON
# MAGIC value of at most 64 KB: the name of a table rather than its rows. An exception is reported as the failure.

# COMMAND ----------

PARAMETERS = {"rows": "3", "seconds": "0", "fail": ""}


# vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv  edit from here  vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv
def work(parameters: dict[str, str]) -> object:
    """Return the job's result. This example counts rows, takes its time, and fails when told to."""
    rows = [number * number for number in range(int(parameters["rows"]))]
    time.sleep(float(parameters["seconds"]))

    if parameters["fail"]:
        raise RuntimeError(parameters["fail"])

    return {"rows": len(rows), "sum": sum(rows)}


# ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^  edit to here  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

# COMMAND ----------

# MAGIC %md
# MAGIC ## Parameters and secrets
# MAGIC
# MAGIC From the job where there is one. Run as a plain program, from `name=value` arguments or `COUNTERSIGN_PARAM_NAME`
# MAGIC in the environment, and secrets from `COUNTERSIGN_SECRET_SCOPE_KEY`.

# COMMAND ----------


def parameter(name: str, default: str = "") -> str:
    """Return a job parameter, or the default where it was not given or is empty."""
    dbutils = globals().get("dbutils")

    if dbutils is not None:
        dbutils.widgets.text(name, default)
        return str(dbutils.widgets.get(name)) or default

    given = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    return given.get(name) or os.environ.get(_variable("PARAM", name)) or default


def secret(scope: str, key: str) -> str:
    """Return a secret of a Databricks secret scope."""
    dbutils = globals().get("dbutils")

    if dbutils is not None:
        return str(dbutils.secrets.get(scope, key))

    return os.environ.get(_variable("SECRET", scope, key), "")


def _variable(*words: str) -> str:
    return "COUNTERSIGN_" + "_".join(re.sub(r"\W", "_", word).upper() for word in words)


# COMMAND ----------

# MAGIC %md
# MAGIC ## Reporting

# COMMAND ----------

MAX_BODY = 65_536
TRY_TIMEOUT = 30.0
LONGEST_DELAY = 60.0

# What Countersign says, and what it means here. The run is marked failed, so that somebody looks.
MEANINGS = {
    401: "the callback token, or the proof of the caller, was not accepted",
    404: "nobody waits there",
    409: "somebody else has answered already, maybe because this run was taken for dead; that answer stands",
    410: "the wait is over: past its deadline or cancelled",
    413: "the report is too large",
    422: "another outcome was reported before; that one stands",
}


class ReportFailed(Exception):
    """The report did not arrive, or was refused. The message never holds the address."""


@dataclass(frozen=True)
class Callback:
    """Where to report, and how. `proof` is the caller secret's key, None where the receiver asks for none."""

    url: str = field(repr=False)
    proof: bytes | None = field(default=None, repr=False)
    timeout: float = 900.0
    delay: float = 1.0

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            usable = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        except ValueError:
            raise ReportFailed("callback_url is no address") from None

        if not usable or not re.fullmatch(r"https?://[!-~]+", self.url):
            raise ReportFailed("callback_url is missing or is no address")

        if parts.query or parts.fragment:
            raise ReportFailed("callback_url must have neither a query nor a fragment")

        if parts.scheme != "https" and not _loopback(parts.hostname or ""):
            raise ReportFailed("callback_url must be https: the token in it must not be read on the way")

        if not (0 <= self.timeout <= 86_400 and 0 <= self.delay <= LONGEST_DELAY):  # noqa: PLR2004 - a day
            raise ReportFailed("callback_timeout or callback_delay is out of range")

    @property
    def shown(self) -> str:
        """The address without its path: fit to print."""
        parts = urllib.parse.urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/****"

    def masked(self, text: str) -> str:
        """Return `text` without this address and without its token."""
        token = self.url.rstrip("/").rpartition("/")[2]
        text = text.replace(self.url, self.shown)
        return text.replace(token, "****") if len(token) >= 8 else text  # noqa: PLR2004 - shorter is no token

    def succeeded(self, body: bytes) -> None:
        """Report the result; return when it is recorded. Raises ReportFailed."""
        self._deliver(self.url, body)

    def failed(self, body: bytes) -> None:
        """Report a failure; return when it is recorded. Raises ReportFailed."""
        self._deliver(self.url.rstrip("/") + "/failure", body)

    def _deliver(self, url: str, body: bytes) -> None:
        give_up, delay, number = time.monotonic() + self.timeout, self.delay, str(uuid.uuid4())

        while True:
            asked_to_wait, what = self._try(url, body, number)

            if what is None:
                print(f"reported to {self.shown}")
                return

            # Half fixed, half by chance: runs that failed together do not come back together.
            pause = max(asked_to_wait, delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

            if time.monotonic() + pause > give_up:
                raise ReportFailed(f"gave up reporting to {self.shown} within {self.timeout:g} s: {what}")

            print(f"not reported yet: {what}; again in {pause:.1f} s", flush=True)
            time.sleep(pause)
            delay = min(delay * 2, LONGEST_DELAY)

    def _try(self, url: str, body: bytes, number: str) -> tuple[float, str | None]:
        """Return (0, None) when it is recorded, else the seconds to wait at least and what went wrong."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "countersign-notebook",
            **self._proof(body, number),
        }
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
        opener = urllib.request.build_opener(_NoRedirect)

        try:
            with opener.open(request, timeout=TRY_TIMEOUT) as response:
                recorded = _recorded(response.read(MAX_BODY))
                return 0.0, None if recorded else "an answer that is not Countersign's"
        except urllib.error.HTTPError as error:
            with error:
                status, named, after = error.code, _problem(error), error.headers.get("Retry-After")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)

            if isinstance(reason, ssl.SSLCertVerificationError):
                raise ReportFailed(f"{self.shown} has no certificate trusted here: {reason.verify_message}") from None

            return 0.0, self.masked(f"{type(reason).__name__}: {reason}")[:200]

        # Outside of the except block, so that nothing of the library's, which may name the address, is shown along.
        what = f"{status}{named}"

        if status in {408, 429} or status >= 500:  # noqa: PLR2004
            return _seconds(after), what

        meaning = MEANINGS.get(status, "asking again is no use")
        raise ReportFailed(f"{self.shown} refused the report with {what}: {meaning}")

    def _proof(self, body: bytes, number: str) -> dict[str, str]:
        """Return the Standard Webhooks headers; the timestamp is fresh, or a late try would be taken for a replay."""
        if self.proof is None:
            return {}

        sent = str(int(time.time()))
        digest = hmac.new(self.proof, f"{number}.{sent}.".encode() + body, hashlib.sha256).digest()
        signature = "v1," + base64.b64encode(digest).decode()
        return {"webhook-id": number, "webhook-timestamp": sent, "webhook-signature": signature}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to an address that nobody named."""

    def redirect_request(self, *_: object) -> None:
        return None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _recorded(content: bytes) -> bool:
    """True for Countersign's own answer, a repetition's too; a proxy's sign-in page is no receipt."""
    try:
        answer = json.loads(content)
    except ValueError:
        return False

    return isinstance(answer, dict) and answer.get("state") == "settled"


def _problem(error: urllib.error.HTTPError) -> str:
    """Return the problem's name in brackets, where the answer has one."""
    try:
        name = json.loads(error.read(MAX_BODY))["type"].removeprefix("urn:countersign:")
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, AttributeError):
        return ""

    return f" ({name})" if re.fullmatch(r"[a-z-]{1,40}", name) else ""


def _seconds(retry_after: str | None) -> float:
    """Return what a Retry-After asks for, in seconds; 0 where it cannot be read."""
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


def connect() -> Callback:
    """Return the callback that the job's parameters describe. Raises ReportFailed where they cannot be used."""
    scope, key = parameter("proof_scope"), parameter("proof_key")
    proof = None

    if scope or key:
        text = secret(scope, key)

        try:
            proof = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except ValueError:
            proof = b""

        if not text.startswith("whsec_") or not proof:
            raise ReportFailed("the secret that proof_scope and proof_key name is missing or no whsec_ secret")

    timeout, delay = float(parameter("callback_timeout", "900")), float(parameter("callback_delay", "1"))
    return Callback(parameter("callback_url"), proof, timeout, delay)


def encode(result: object) -> bytes:
    """Return the result as JSON. Raises TypeError or ValueError where it is none, or too large to be sent."""
    try:
        body = json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("the result is nested too deeply") from None

    if len(body) > MAX_BODY:
        raise ValueError(
            f"the result has {len(body)} bytes of JSON, at most {MAX_BODY} can be sent: return where it is"
        )

    return body


def describe(error: Exception, callback: Callback) -> bytes:
    """Return the failure report: what was raised and where, without any variable's value, at most about 10 KB."""
    kind = type(error).__name__
    # limit: the innermost frames. Only code is quoted, never locals.
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-8))
    message = callback.masked(f"{kind}: {error}")[:500]
    report = {"message": message, "details": {"exception": kind, "traceback": callback.masked(trace)[-4000:]}}
    return json.dumps(report, ensure_ascii=False).encode("utf-8", "replace")


def main() -> None:
    """Work and report. Raises what the work raised, or ReportFailed, so that the run is marked failed."""
    callback = connect()

    try:
        body = encode(work({name: parameter(name, default) for name, default in PARAMETERS.items()}))
    except Exception as error:
        try:
            callback.failed(describe(error, callback))
        except ReportFailed as refusal:
            print(f"the failure could not be reported: {refusal}")

        raise

    callback.succeeded(body)


# COMMAND ----------

if __name__ == "__main__":
    main()
