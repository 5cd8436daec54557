"""Runs a notebook as a plain program, with the part of `dbutils` that a job's notebook uses.

    python driver.py NOTEBOOK

This file is given to an interpreter that need not have this project, so it imports only the standard library. The job's
parameters are a JSON object in COUNTERSIGN_EMULATOR_PARAMETERS, and what the notebook leaves goes as JSON into the file
that COUNTERSIGN_EMULATOR_OUTCOME names: what it gave to `dbutils.notebook.exit`, or what it raised. A secret is the
variable COUNTERSIGN_SECRET_SCOPE_KEY.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace


class NotebookExit(Exception):
    """Ends the notebook. As in Databricks, an `except Exception` around `dbutils.notebook.exit` catches it."""


class Widgets:
    """`dbutils.widgets` in a job: a widget has the job parameter's value, else its own default."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._made: dict[str, str] = {}

    def text(self, name: str, default: str, _label: str = "") -> None:
        """Make a widget."""
        self._made[name] = self._given.get(name, default)

    def get(self, name: str) -> str:
        """Return a widget's value, or the job parameter's if no widget was made."""
        if name not in self._made and name not in self._given:
            raise LookupError(f"InputWidgetNotDefined: No input widget named {name} is defined")

        return self._made[name] if name in self._made else self._given[name]


class Secrets:
    """`dbutils.secrets` over environment variables."""

    def get(self, scope: str, key: str) -> str:
        """Return a secret."""
        variable = f"{self._prefix(scope)}{_upper(key)}"

        if variable not in os.environ:
            raise LookupError(f"Secret does not exist with scope: {scope} and key: {key}")

        return os.environ[variable]

    def list(self, scope: str) -> list[SimpleNamespace]:
        """Return the keys of a scope, in lower case."""
        prefix = self._prefix(scope)
        keys = [name.removeprefix(prefix).lower() for name in os.environ if name.startswith(prefix)]

        if not keys:
            raise LookupError(f"RESOURCE_DOES_NOT_EXIST: Scope {scope} does not exist!")

        return [SimpleNamespace(key=key) for key in keys]

    @staticmethod
    def _prefix(scope: str) -> str:
        return f"COUNTERSIGN_SECRET_{_upper(scope)}_"


def main() -> None:
    """Run the notebook that the argument names; exit as it does."""
    outcome = Path(os.environ.pop("COUNTERSIGN_EMULATOR_OUTCOME"))
    given = json.loads(os.environ.pop("COUNTERSIGN_EMULATOR_PARAMETERS"))
    notebook = sys.argv[1]
    sys.argv = [notebook]
    dbutils = SimpleNamespace(
        widgets=Widgets(given), secrets=Secrets(), notebook=SimpleNamespace(exit=_leave), jobs=SimpleNamespace()
    )

    try:
        runpy.run_path(notebook, init_globals={"dbutils": dbutils}, run_name="__main__")
    except NotebookExit as left:
        outcome.write_text(json.dumps({"result": str(left)}))
    except Exception as error:
        raised = {"error": f"{type(error).__name__}: {error}", "error_trace": traceback.format_exc()}
        outcome.write_text(json.dumps(raised))
        raise


def _leave(value: str) -> None:
    raise NotebookExit(value)


def _upper(word: str) -> str:
    return re.sub(r"\W", "_", word).upper()


if __name__ == "__main__":
    main()
