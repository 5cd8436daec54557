"""The notebook inside Databricks: parameters from widgets, secrets from scopes."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

import notebook
import pytest
from support.reporting import NOTEBOOK, PROOF, SCOPE, TOKEN, Receiver, check_proof

#: They start programs.
pytestmark = pytest.mark.slow


class Widgets:
    """Does what dbutils.widgets does in a job: a new widget takes the job parameter's value."""

    def __init__(self, given: dict[str, str]) -> None:
        self.given = given
        self.made: dict[str, str] = {}

    def text(self, name: str, default: str) -> None:
        self.made[name] = self.given.get(name, default)

    def get(self, name: str) -> str:
        return self.made[name]


@dataclass(frozen=True)
class Metadata:
    key: str


class Secrets:
    """Does what dbutils.secrets does: a scope may be missing or unreadable, and the errors say little."""

    def __init__(self, origin: str) -> None:
        self.readable = {"jobs": {"caller": PROOF + "\n", "receiver": origin + "\n", "hidden": None}}

    def get(self, scope: str, key: str) -> str:
        value = self.readable.get(scope, {}).get(key)

        if value is None:
            raise RuntimeError(f"Secret does not exist with scope: {scope} and key: {key}")

        return value

    def list(self, scope: str) -> list[Metadata]:
        if scope not in self.readable:
            raise RuntimeError("RESOURCE_DOES_NOT_EXIST or PERMISSION_DENIED")

        return [Metadata(key) for key in self.readable[scope]]


class Utilities:
    def __init__(self, origin: str, **given: str) -> None:
        self.widgets = Widgets(given)
        self.secrets = Secrets(origin)


def test_in_databricks_parameters_come_from_widgets_and_secrets_from_scopes(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERSIGN_PARAM_ROWS", "9")
    given = Utilities(receiver.origin, callback_url=receiver.url, rows="2", **SCOPE)
    monkeypatch.setattr(notebook, "dbutils", given, raising=False)

    notebook.main()

    (report,) = receiver.received
    check_proof(report, "succeeded")
    assert report.json == {"rows": 2, "sum": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"proof_scope": "other"}, "the secret scope 'other' does not exist, or the identity of this run has no READ"),
        ({"proof_key": "other"}, "the secret scope 'jobs' has no key 'other'"),
        ({"proof_origin": "other"}, "the secret scope 'jobs' has no key 'other'"),
        ({"proof_key": "hidden"}, "the secret 'hidden' of the scope 'jobs' cannot be read (RuntimeError)"),
    ],
)
def test_in_databricks_the_error_says_why_a_secret_is_missing_without_quoting_databricks(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], message: str
) -> None:
    given = Utilities(receiver.origin, callback_url=receiver.url, **(SCOPE | changed))
    monkeypatch.setattr(notebook, "dbutils", given, raising=False)

    with pytest.raises(notebook.ReportFailed, match=re.escape(message)) as caught:
        notebook.main()

    assert "Secret does not exist" not in "".join(traceback.format_exception(caught.value))
    assert receiver.received == []


def test_the_file_is_a_notebook_that_databricks_imports() -> None:
    lines = NOTEBOOK.read_text().splitlines()

    assert lines[0] == "# Databricks notebook source"
    assert lines.count("# COMMAND ----------") >= 5
    assert "# MAGIC %md" in lines


def test_an_address_is_not_in_a_callbacks_repr(receiver: Receiver) -> None:
    callback = notebook.Callback(receiver.url, notebook.Proof(b"key", notebook.origin(receiver.url)))

    assert TOKEN not in repr(callback)
    assert "b'key'" not in repr(callback)
