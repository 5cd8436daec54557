"""Rules for every single file. For each rule, a test shows that it finds a violation and accepts correct code."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from support.code_rules import (
    HEAVY,
    LATE,
    asserts,
    dangerous,
    effects_at_import,
    global_state,
    heavy_at_import,
    no_docstring,
    reads_environment,
    skips_without_reason,
)
from support.source import ROOT, Rule, name, product, python_files, tree, violations


@pytest.mark.parametrize("rule", [effects_at_import, global_state, asserts, no_docstring])
def test_the_product_keeps_the_rule(rule: Rule) -> None:
    found = violations(rule, product())

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (effects_at_import, "DATA = open('x').read()"),
        (effects_at_import, "class A:\n    data = Path('x').read_text()"),
        (effects_at_import, "def f(a=sqlite3.connect('x')): ..."),
        (effects_at_import, "if A:\n    settings = load_settings()"),
        (heavy_at_import, "import databricks.sdk"),
        (heavy_at_import, "from google.auth.exceptions import GoogleAuthError"),
        (heavy_at_import, "if A:\n    from psycopg import Error"),
        (heavy_at_import, "from orchestrator.databricks import sdk"),
        (heavy_at_import, "from orchestrator.databricks.sdk import connect"),
        (heavy_at_import, "class A:\n    import orchestrator.engine.remote.postgres"),
        (global_state, "cache = {}"),
        (global_state, "cache: dict[str, str] = {}"),
        (global_state, "seen: Final = set()"),
        (global_state, "cache = defaultdict(list)"),
        (global_state, "def f():\n    global a\n    a = 1"),
        (asserts, "def f(a):\n    assert a"),
        (no_docstring, "A = 1"),
        (dangerous, "import subprocess"),
        (dangerous, "def f():\n    from xml.etree import ElementTree"),
        (dangerous, "def f(a):\n    return eval(a)"),
        (dangerous, "os.system('ls')"),
        (skips_without_reason, "@pytest.mark.skip\ndef test_a(): ..."),
        (skips_without_reason, "@pytest.mark.skip()\ndef test_a(): ..."),
        (skips_without_reason, "@pytest.mark.skipif(True)\ndef test_a(): ..."),
        (skips_without_reason, "def test_a():\n    pytest.skip()"),
        (skips_without_reason, "def test_a():\n    pytest.skip('')"),
    ],
)
def test_a_rule_finds_a_violation(rule: Rule, source: str) -> None:
    assert list(rule(ast.parse(source)))


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (effects_at_import, "def f():\n    return open('x')\nread = lambda: open('y')\nP = Path('x')"),
        (effects_at_import, "if __name__ == '__main__':\n    print(open('x'))"),
        (heavy_at_import, "from orchestrator.databricks import jobs\nfrom orchestrator.engine import connect"),
        (heavy_at_import, "def f():\n    from orchestrator.databricks.sdk import connect"),
        (heavy_at_import, "if TYPE_CHECKING:\n    from databricks.sdk import WorkspaceClient"),
        (
            global_state,
            "NAMES = {1: 2}\nEMPTY = frozenset()\nNONE: Final[Mapping[str, int]] = {}\ndef f():\n    found = []",
        ),
        (asserts, "def f(a):\n    raise AssertionError"),
        (no_docstring, '"""Why."""'),
        (dangerous, "re.compile('a')\ncursor.execute('SELECT 1')\nasyncio.subprocess\nos.path.join('a')"),
        (skips_without_reason, "@pytest.mark.skipif(A, reason='no A')\ndef test_a():\n    pytest.skip('no B')"),
    ],
)
def test_a_rule_accepts_code_that_keeps_it(rule: Rule, source: str) -> None:
    assert not list(rule(ast.parse(source)))


def test_the_product_starts_no_process_and_runs_no_text() -> None:
    assert violations(dangerous, product()) == []


def test_every_test_that_skips_says_why() -> None:
    assert violations(skips_without_reason, python_files("tests")) == []


def test_heavy_modules_are_imported_late() -> None:
    assert violations(heavy_at_import, [file for file in product() if name(file) not in LATE]) == []


@pytest.mark.slow
def test_a_process_that_has_started_has_imported_nothing_heavy() -> None:
    program = "import sys, receiver.__main__, orchestrator.__main__; print(*sys.modules)"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert HEAVY & {module.partition(".")[0] for module in ran.stdout.split()} == set()


def test_the_process_environment_is_read_in_one_function() -> None:
    readers = {f"{name(file)}:{function}" for file in product() for function in reads_environment(tree(file))}

    assert readers == {"orchestrator/config/settings.py:process_environment"}


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("import os\nA = os.environ['A']", "<module>"),
        ("def f():\n    return os.getenv('A')", "f"),
        ("from os import environ", "<module>"),
        ("class A:\n    async def g(self, e=None):\n        e = os.environ if e is None else e", "g"),
    ],
)
def test_every_read_of_the_process_environment_is_found(source: str, where: str) -> None:
    assert list(reads_environment(ast.parse(source))) == [where]


def test_every_program_can_be_started() -> None:
    programs = [file for file in (ROOT / "scripts").iterdir() if file.is_file() and not file.suffix]

    assert {file.name for file in programs} >= {"check", "doctor", "keys", "test"}
    assert [name(file) for file in [*programs, ROOT / ".ci/run"] if not os.access(file, os.X_OK)] == []
    assert [name(file) for file in programs if not file.read_bytes().startswith(b"#!")] == []
