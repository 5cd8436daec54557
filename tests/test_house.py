"""The plan of the house: which rooms exist, in which direction they import each other, and how long a file may be.

For each rule, a test shows that it finds a violation.

Long because the plan and the rules about it belong on one page.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.source import ROOT, circles, import_graph, imported, module_name, name, product, python_files, tree

LONGEST_FILE = 300
REASON = re.compile(r"^Long because \S+ \S+", re.MULTILINE)

#: Every room, from the composition roots down to plain values. A module imports from its own room and from rooms below
#: it in this list. A file in this list is a room of its own; a room inside another room has its own entry.
PLAN = (
    # Programs next to the service, and the command that starts them and the service.
    "receiver.command",
    "receiver.commands",
    "receiver.benchmark",
    "orchestrator.testing",
    "orchestrator.testing.trial",
    "orchestrator.testing.emulator",
    # The HTTP edge.
    "receiver.__main__",
    "receiver.__init__",
    "receiver.app",
    "receiver.surfaces.console",
    "receiver.surfaces",
    "receiver.openapi",
    "receiver.pages",
    "receiver.senders",
    "receiver.senders.schemes",
    "receiver.http.protocol",
    "receiver.http",
    # The durable side.
    "orchestrator.__main__",
    "orchestrator.worker",
    "orchestrator.workflows",
    "orchestrator.workflows.shop",
    "orchestrator.workflows.summary",
    "orchestrator.__init__",
    "orchestrator.by_hand",
    "orchestrator.approvals",
    "orchestrator.mail",
    "orchestrator.databricks",
    "orchestrator.llm",
    "orchestrator.web",
    "orchestrator.runs",
    "orchestrator.callbacks",
    "orchestrator.durable",
    "orchestrator.engine.__init__",
    "orchestrator.engine.connecting",
    "orchestrator.engine.remote",
    "orchestrator.engine.encryption",
    "orchestrator.engine.embedded",
    "orchestrator.engine.embedded.memory",
    "orchestrator.engine.embedded.disk",
    "orchestrator.engine",
    "orchestrator.config",
    "orchestrator.failures",
    "orchestrator.sdk_internals",
    "orchestrator.stored_names",
    "orchestrator.counts",
    "orchestrator.tracing",
    "orchestrator.logs",
    "orchestrator.signals",
    "orchestrator.text",
    "orchestrator.errors",
)


#: Libraries that only one file each may import, so that they can be replaced and their errors translated in one place.
EXCLUSIVE = (
    *("itsdangerous", "databricks", "google", "smtplib", "cryptography"),
    *("psycopg", "psycopg_pool", "resonate_pg", "prometheus_client", "jmespath"),
    "opentelemetry",
)

#: HTTP clients, and the files that import them: each speaks to another sort of server.
CLIENTS = {
    "aiohttp": ["orchestrator/engine/remote/server.py", "orchestrator/web/transport.py"],
    "yarl": ["orchestrator/web/transport.py"],
    "httpx2": ["orchestrator/llm/chat.py"],
}

#: The senders' own verifiers, with which the tests compare ours.
ORACLES = {"standardwebhooks", "stripe", "svix", "slack_sdk"}

#: Folders of tests that are not about a single module: whole flows, and rules for several files together.
WHOLE_FLOWS = ("tests/e2e/", "tests/documents/")

#: Test files that are named after a subject of their room instead of a module, and why.
SUBJECTS = {
    "tests/test_code_rules.py": "rules for every file",
    "tests/test_house.py": "the plan",
    "tests/test_installation.py": "the environment as a whole",
    "tests/test_security_document.py": "a document",
    "tests/orchestrator/test_authors_mistakes.py": "what authors do wrong, wherever it is noticed",
    "tests/orchestrator/durable/test_gathering.py": "several things awaited at once, wherever that is noticed",
    "tests/orchestrator/durable/test_shared_by_parts.py": "what parts that run at once share",
    "tests/orchestrator/engine/encryption/test_tampering.py": "what somebody who can write to the store can do",
    "tests/orchestrator/engine/encryption/test_tampering_with_workflows.py": "the same, through a whole workflow",
    "tests/orchestrator/engine/test_store.py": "the contents of the store, on every engine",
    "tests/orchestrator/mail/test_strict_relay.py": "the room as a strict mail server sees it",
    "tests/orchestrator/runs/test_endings.py": "all the ways in which a run ends",
    "tests/orchestrator/workflows/test_crashing_everywhere.py": "all workflows, with a crash at every recorded change",
    "tests/orchestrator/workflows/test_everything_in_one.py": "one workflow with everything that one can have",
    "tests/orchestrator/workflows/test_orders.py": "two workflows on one order book",
    "tests/orchestrator/workflows/test_pipeline_again.py": "databricks_pipeline, started again under the same id",
    "tests/receiver/http/test_headers.py": "headers of every response",
    "tests/receiver/pages/test_organisation.py": "the organisation's name on every page",
    "tests/receiver/senders/schemes/test_oracles.py": "all schemes against the senders' own verifiers",
    "tests/receiver/senders/schemes/test_vectors.py": "all schemes against published examples",
    "tests/scripts/test_bootstrap.py": "scripts/bootstrap.sh",
    "tests/receiver/surfaces/console/test_console_in_a_browser.py": "the whole console",
    "tests/receiver/surfaces/console/test_console_on_every_engine.py": "the whole console, on every engine",
    "tests/receiver/surfaces/test_access.py": "roles, on every surface",
    "tests/receiver/surfaces/test_databricks_hints.py": "a webhook that hints at a run, through to the run",
    "tests/receiver/surfaces/test_job_answers.py": "the answers of a Databricks job, as every surface shows them",
    "tests/receiver/surfaces/test_earlier_waits.py": "links of an earlier wait, on every surface",
}


def room_of(module: str) -> str | None:
    """Return the innermost room of the plan that contains this module."""
    rooms = [room for room in PLAN if module == room or module.startswith(f"{room}.")]

    return max(rooms, key=len, default=None)


def upward(graph: dict[str, set[str]]) -> set[str]:
    """Return the imports between rooms that do not go downwards."""
    floors = {room: number for number, room in enumerate(PLAN)}
    arrows = {(room_of(module), room_of(other)) for module, others in graph.items() for other in others}

    return {f"{room} imports {other}" for room, other in arrows if room and other and floors[room] > floors[other]}


def is_bare(source: ast.Module) -> bool:
    """Return whether a module contains only its docstring."""
    return all(isinstance(node, ast.Expr) for node in source.body)


def too_long(text: str) -> bool:
    """Return whether a Python file is too long and gives no reason in its docstring."""
    docstring = ast.get_docstring(ast.parse(text)) or ""

    return len(text.splitlines()) > LONGEST_FILE and not REASON.search(docstring)


def rooms_of_one(files: set[str]) -> set[str]:
    """Return the folders that contain a single module and no other folder."""
    folders = {folder.as_posix() for file in files for folder in Path(file).parents if len(folder.parts) > 1}
    parents = [Path(one).parent.as_posix() for one in files | folders if Path(one).name != "__init__.py"]

    return {folder for folder in folders if parents.count(folder) == 1}


def mirrors_nothing(test: str, sources: set[str]) -> bool:
    """Return whether no module or package has the name of this test file, or its singular, or begins it."""
    folder, _, file = test.removeprefix("tests/").rpartition("/")
    subject = file.removeprefix("test_").removesuffix(".py")
    known = {Path(source).relative_to(folder).parts[0] for source in sources if source.startswith(f"{folder}/")}
    names = {each.removesuffix(".py") for each in known}

    return not any(subject == each or subject.startswith((f"{each}_", f"{each.rstrip('s')}_")) for each in names)


@pytest.fixture(scope="module")
def sources() -> dict[str, ast.Module]:
    """Every module of the product and of its programs that contains more than a docstring."""
    read = {module_name(name(file)): tree(file) for file in python_files("orchestrator", "receiver")}

    return {module: source for module, source in read.items() if not is_bare(source)}


@pytest.fixture(scope="module")
def graph(sources: dict[str, ast.Module]) -> dict[str, set[str]]:
    return import_graph(sources)


# -- rooms and arrows ---------------------------------------------------------


def test_the_top_level_has_no_other_folder() -> None:
    folders = {entry.name for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith(".")}

    assert folders - {"__pycache__", "dist", "build"} == {"orchestrator", "receiver", "scripts", "tests"}


def test_every_module_is_in_a_room_of_the_plan(sources: dict[str, ast.Module]) -> None:
    assert [module for module in sources if room_of(module) is None] == []


def test_every_room_of_the_plan_exists(sources: dict[str, ast.Module]) -> None:
    assert set(PLAN) - {room_of(module) for module in sources} == set()


def test_arrows_run_from_the_composition_root_down_to_plain_values(graph: dict[str, set[str]]) -> None:
    assert upward(graph) == set()


def test_arrows_run_from_the_receiver_to_the_orchestrator_and_never_back() -> None:
    assert [name(file) for file in python_files("orchestrator") if "receiver" in imported(tree(file))] == []


def test_modules_import_each_other_in_no_circle(graph: dict[str, set[str]]) -> None:
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("module", "line", "seen"),
    [
        ("orchestrator.callbacks.a", "import receiver.app", "orchestrator.callbacks imports receiver.app"),
        ("orchestrator.text.a", "from orchestrator import errors, logs", "orchestrator.text imports orchestrator.logs"),
        ("receiver.http.a", "from receiver.surfaces.b import C", "receiver.http imports receiver.surfaces"),
        (
            "receiver.senders.schemes.a",
            "import receiver.senders.b",
            "receiver.senders.schemes imports receiver.senders",
        ),
        (
            "orchestrator.runs.a",
            "def f():\n    if TYPE_CHECKING:\n        from orchestrator import Context",
            "orchestrator.runs imports orchestrator.__init__",
        ),
    ],
)
def test_an_upward_arrow_is_found(module: str, line: str, seen: str) -> None:
    others = ("receiver.app", "receiver.surfaces.b", "receiver.senders.b", "orchestrator.__init__", "orchestrator.logs")
    planted = {each: ast.parse("") for each in (*others, "orchestrator.errors")} | {module: ast.parse(line)}

    assert upward(import_graph(planted)) == {seen}


def test_a_downward_arrow_is_accepted() -> None:
    planted = {
        "receiver.app": ast.parse("from receiver.surfaces import a\nfrom orchestrator.engine import Engine"),
        "receiver.surfaces.a": ast.parse("import receiver.surfaces.b\nfrom orchestrator.errors import Refused"),
        "receiver.surfaces.b": ast.parse(""),
        "orchestrator.engine.__init__": ast.parse("from orchestrator.engine.promises import Promises"),
        "orchestrator.engine.promises": ast.parse(""),
        "orchestrator.errors": ast.parse(""),
    }
    graph = import_graph(planted)

    assert graph["receiver.app"] == {"receiver.surfaces.a", "orchestrator.engine.__init__"}
    assert upward(graph) == set()
    assert circles(graph) == []


@pytest.mark.parametrize(
    "lines",
    [
        {"a": "import b", "b": "from a import C"},
        {"a": "import b", "b": "if TYPE_CHECKING:\n    import a"},
        {"a": "import b", "b": "import c", "c": "def f():\n    from a import g"},
        {"a.__init__": "from a.b import C", "a.b": "from a import D"},
    ],
)
def test_a_circle_is_found(lines: dict[str, str]) -> None:
    planted = {"x": "import a, y", "y": ""} | lines

    assert circles(import_graph({each: ast.parse(text) for each, text in planted.items()})) == [set(lines)]


def test_a_module_without_a_room_is_found() -> None:
    assert room_of("orchestrator.helpers") is None
    assert room_of("receiver.utils.text") is None
    assert room_of("orchestrator.engine.embedded.disk.journal") == "orchestrator.engine.embedded.disk"


# -- who knows what -----------------------------------------------------------


def test_the_product_imports_neither_tests_nor_scripts() -> None:
    own = {"tests", "support", "scripts", *(file.stem for file in (ROOT / "scripts").glob("*.py"))}

    assert [name(file) for file in product() if own & set(imported(tree(file)))] == []


@pytest.mark.parametrize("library", EXCLUSIVE)
def test_a_third_party_is_known_to_one_file(library: str) -> None:
    assert len([name(file) for file in product() if library in imported(tree(file))]) == 1


@pytest.mark.parametrize("library", CLIENTS)
def test_an_http_client_is_known_to_the_files_that_need_it(library: str) -> None:
    files = [
        name(file) for file in product() if not name(file).startswith(("receiver/benchmark/", "receiver/commands/"))
    ]

    assert [file for file in files if library in imported(tree(ROOT / file))] == CLIENTS[library]


def test_the_product_checks_signatures_without_the_senders_own_verifiers() -> None:
    assert [name(file) for file in product() if ORACLES & set(imported(tree(file)))] == []


def test_the_receiver_knows_nothing_of_the_sdk() -> None:
    # The benchmark compares the SDK's own engines with ours.
    files = [file for file in python_files("receiver") if not name(file).startswith("receiver/benchmark/")]

    assert [name(file) for file in files if "resonate" in imported(tree(file))] == []


@pytest.mark.parametrize("source", ["import resonate.types", "if A:\n    from resonate.types import PromiseRecord"])
def test_an_import_of_the_sdk_is_found(source: str) -> None:
    assert "resonate" in imported(ast.parse(source))
    assert "resonate" not in imported(ast.parse("from orchestrator.engine import Engine"))


@pytest.mark.parametrize(
    "source",
    [
        "import receiver.app",
        "from receiver import app",
        "def f():\n    import receiver",
        "import_module('receiver.app')",
    ],
)
def test_an_import_is_found_in_each_of_its_forms(source: str) -> None:
    assert "receiver" in imported(ast.parse(source))


# -- files and folders --------------------------------------------------------


def test_a_long_file_says_why() -> None:
    files = python_files("orchestrator", "receiver", "scripts", "tests")

    assert [name(file) for file in files if too_long(file.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("docstring", "lines", "seen"),
    [
        ("Why.", 300, False),
        ("Why.", 301, True),
        ("Why.\n\nLong because one table says it all.", 301, False),
        ("Why. It is Long because it is.", 301, True),
        ("Why.\n\nLong because", 301, True),
    ],
)
def test_a_file_that_is_too_long_is_found(docstring: str, lines: int, seen: bool) -> None:  # noqa: FBT001
    head = f'"""{docstring}\n"""\n'

    assert too_long(head + "A = 1\n" * (lines - head.count("\n"))) is seen


def test_no_folder_contains_a_single_file() -> None:
    assert rooms_of_one({name(file) for file in python_files("orchestrator", "receiver")}) == set()


def test_a_folder_of_one_file_is_found() -> None:
    files = {"a/b/__init__.py", "a/b/c.py", "a/d/__init__.py", "a/d/e.py", "a/d/f/g.py", "a/d/f/h.py"}

    assert rooms_of_one(files) == {"a/b"}


def test_tests_mirror_the_modules() -> None:
    modules = {name(file) for file in python_files("orchestrator", "receiver", "scripts")}
    tests = [name(file) for file in python_files("tests") if file.name.startswith("test_")]

    assert [
        test
        for test in tests
        if test not in SUBJECTS and not test.startswith(WHOLE_FLOWS) and mirrors_nothing(test, modules)
    ] == []


def test_every_excused_subject_has_its_file() -> None:
    assert [test for test in SUBJECTS if not (ROOT / test).is_file()] == []


def test_a_test_file_that_mirrors_nothing_is_found() -> None:
    modules = {"receiver/http/forms.py", "receiver/http/protocol/heads.py", "receiver/app.py"}
    named = ("test_forms", "test_forms_in_a_browser", "test_protocol", "test_heads", "test_form", "test_formsets")

    assert [each for each in named if mirrors_nothing(f"tests/receiver/http/{each}.py", modules)] == [
        "test_heads",
        "test_form",
        "test_formsets",
    ]
