"""The rules of the house, held by reading the source. Each rule is shown to see a planted violation."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 300

#: Third parties that one file each knows, so that they can be replaced, and their errors translated, in one place.
EXCLUSIVE = (
    *("itsdangerous", "databricks", "google", "smtplib", "cryptography"),
    *("psycopg", "psycopg_pool", "resonate_pg", "prometheus_client", "jmespath", "aiohttp"),
)

#: What takes long to import and is not needed by every process, and the files that are imported late for its sake.
HEAVY = {"databricks", "google", "psycopg", "psycopg_pool", "resonate_pg"}
LATE = {"orchestrator/databricks/sdk.py", "orchestrator/engine/remote/postgres.py"}

#: Calls that do something to the world; at import, nothing may.
EFFECTS = {
    *("open", "connect", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "touch", "unlink"),
    *("urlopen", "socket", "create_connection", "run", "Popen", "system", "load_settings", "load_dotenv", "print"),
}
#: What would make a request's text into a command, a program or an object of its own choosing.
DANGEROUS = {
    *("subprocess", "pickle", "marshal", "shelve", "dill", "code", "codeop", "runpy", "ctypes", "multiprocessing"),
    *("xml", "lxml", "yaml", "eval", "exec", "compile", "system", "popen", "spawnv", "execv", "fork", "unsafe_load"),
}
CONTAINERS = {"dict", "list", "set", "defaultdict", "OrderedDict", "Counter", "deque", "WeakValueDictionary"}

#: Rooms of programs that come with the wheel and are no part of the service.
PROGRAMS = ("receiver/benchmark/", "receiver/commands/", "orchestrator/testing/")

type Rule = Callable[[ast.Module], Iterator[str]]


def python_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def product() -> list[Path]:
    """Return what serves: no program beside it, and no link to one."""
    files = python_files("orchestrator", "receiver")
    return [file for file in files if not name(file).startswith(PROGRAMS) and not file.is_symlink()]


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"), str(file))


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imported(module: ast.Module) -> Iterator[str]:
    """Yield the first part of every name that is imported anywhere in the module."""
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(source), level=0):
                yield source.partition(".")[0]
            case ast.Call(args=[ast.Constant(value=str(source)), *_]) if called(node) in {
                "import_module",
                "__import__",
            }:
                yield source.partition(".")[0]


def called(call: ast.Call) -> str:
    """Return the last part of the name that is called."""
    match call.func:
        case ast.Name(id=text) | ast.Attribute(attr=text):
            return text
        case _:
            return ""


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when the module is imported: class bodies and decorators, not the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue

        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*child.decorator_list, *child.args.defaults, *filter(None, child.args.kw_defaults)):
                yield part
                yield from at_import(part)

            continue

        if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}:
            continue

        yield child
        yield from at_import(child)


def heavy_at_import(module: ast.Module) -> Iterator[str]:
    late = {file.removesuffix(".py").replace("/", ".") for file in LATE}

    for node in at_import(module):
        match node:
            case ast.Import(names=names):
                found = {alias.name for alias in names}
            case ast.ImportFrom(module=str(source), names=names, level=0):
                found = {source, *(f"{source}.{alias.name}" for alias in names)}
            case _:
                continue

        if any(each in late or each.partition(".")[0] in HEAVY for each in found):
            yield f"line {node.lineno} imports what should be imported late"


def effects_at_import(module: ast.Module) -> Iterator[str]:
    for node in at_import(module):
        if isinstance(node, ast.Call) and called(node) in EFFECTS:
            yield f"line {node.lineno} calls {called(node)} at import"


def dangerous(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                found = {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(source), level=0):
                found = {source.partition(".")[0]}
            case ast.Call(func=ast.Name(id=text)):
                found = {text}
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr=text)):
                found = {text}
            case _:
                continue

        yield from (f"line {node.lineno} uses {each}" for each in found & DANGEROUS)


def is_empty_container(value: ast.expr | None) -> bool:
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return True
        case ast.Call(args=[]) | ast.Call(args=[ast.Name()]):
            return called(value) in CONTAINERS
        case _:
            return False


def global_state(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        # What its own type forbids to write to is no state.
        read_only = isinstance(node, ast.AnnAssign) and "Final[Mapping[" in ast.unparse(node.annotation)

        if isinstance(node, ast.Assign | ast.AnnAssign) and is_empty_container(node.value) and not read_only:
            yield f"line {node.lineno} keeps state in the module"

    for inner in ast.walk(module):
        if isinstance(inner, ast.Global):
            yield f"line {inner.lineno} writes to the module"


def asserts(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Assert):
            yield f"line {node.lineno} asserts, which -O leaves out"


def knows_the_sdk(module: ast.Module) -> Iterator[str]:
    if "resonate" in imported(module):
        yield "knows the SDK, whose records are read in the orchestrator"


def no_docstring(module: ast.Module) -> Iterator[str]:
    if not ast.get_docstring(module):
        yield "has no docstring"


def reads_environment(module: ast.Module) -> Iterator[str]:
    """Yield the function, or `<module>`, of every look at the process environment."""

    def visit(node: ast.AST, function: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            match child:
                case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "putenv"):
                    yield function
                case ast.ImportFrom(module="os", names=names) if {alias.name for alias in names} & {
                    "environ",
                    "getenv",
                }:
                    yield function
                case ast.FunctionDef(name=inner) | ast.AsyncFunctionDef(name=inner):
                    yield from visit(child, inner)
                    continue

            yield from visit(child, function)

    yield from visit(module, "<module>")


def skips_without_reason(module: ast.Module) -> Iterator[str]:
    functions = {id(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)}

    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"pytest.mark.skip", "pytest.mark.xfail"}:
            given: list[ast.expr] = []

            if id(node) in functions:
                continue

        elif isinstance(node, ast.Call) and called(node) in {"skip", "skipif", "xfail", "skipTest"}:
            given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            given += [] if called(node) == "skipif" else node.args

        else:
            continue

        if not given or any(isinstance(one, ast.Constant) and not one.value for one in given):
            yield f"line {node.lineno} skips without a reason"


def violations(rule: Rule, files: list[Path]) -> list[str]:
    return [f"{name(file)} {fault}" for file in files for fault in rule(tree(file))]


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
        (knows_the_sdk, "import resonate.types"),
        (knows_the_sdk, "if TYPE_CHECKING:\n    from resonate.types import PromiseRecord"),
        (skips_without_reason, "@pytest.mark.skip\ndef test_a(): ..."),
        (skips_without_reason, "@pytest.mark.skip()\ndef test_a(): ..."),
        (skips_without_reason, "@pytest.mark.skipif(True)\ndef test_a(): ..."),
        (skips_without_reason, "def test_a():\n    pytest.skip()"),
        (skips_without_reason, "def test_a():\n    pytest.skip('')"),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: Rule, source: str) -> None:
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
        (knows_the_sdk, "from orchestrator.engine import Engine"),
        (skips_without_reason, "@pytest.mark.skipif(A, reason='no A')\ndef test_a():\n    pytest.skip('no B')"),
    ],
)
def test_a_rule_lets_pass_what_keeps_it(rule: Rule, source: str) -> None:
    assert not list(rule(ast.parse(source)))


def test_the_product_starts_no_process_and_runs_no_text() -> None:
    assert violations(dangerous, product()) == []


def test_every_test_that_skips_says_why() -> None:
    assert violations(skips_without_reason, python_files("tests")) == []


def test_a_file_is_a_concept_and_not_a_drawer() -> None:
    sizes = {name(file): len(file.read_text("utf-8").splitlines()) for file in product()}

    assert {file: size for file, size in sizes.items() if size > LONGEST_FILE} == {}


def test_arrows_run_from_the_receiver_to_the_orchestrator_and_never_back() -> None:
    assert [name(file) for file in python_files("orchestrator") if "receiver" in imported(tree(file))] == []


def test_the_receiver_knows_nothing_of_the_sdk() -> None:
    # The benchmark measures the SDK's own engines beside ours.
    files = [file for file in python_files("receiver") if not name(file).startswith("receiver/benchmark/")]

    assert violations(knows_the_sdk, files) == []


def test_the_product_imports_neither_tests_nor_scripts() -> None:
    own = {"tests", "support", "scripts", *(file.stem for file in (ROOT / "scripts").glob("*.py"))}

    assert [name(file) for file in product() if own & set(imported(tree(file)))] == []


@pytest.mark.parametrize("library", EXCLUSIVE)
def test_a_third_party_is_known_to_one_file(library: str) -> None:
    assert len([name(file) for file in product() if library in imported(tree(file))]) == 1


def test_what_is_heavy_is_imported_late() -> None:
    assert violations(heavy_at_import, [file for file in product() if name(file) not in LATE]) == []


def test_a_process_that_has_started_has_imported_nothing_heavy() -> None:
    program = "import sys, receiver.__main__, orchestrator.__main__; print(*sys.modules)"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert HEAVY & {module.partition(".")[0] for module in ran.stdout.split()} == set()


@pytest.mark.parametrize(
    "source",
    [
        "import receiver.app",
        "from receiver import app",
        "def f():\n    import receiver",
        "import_module('receiver.app')",
    ],
)
def test_an_import_is_seen_in_each_of_its_forms(source: str) -> None:
    assert "receiver" in imported(ast.parse(source))


def test_the_process_environment_is_read_in_one_function() -> None:
    readers = {f"{name(file)}:{function}" for file in product() for function in reads_environment(tree(file))}

    assert readers == {"orchestrator/config/settings.py:read_environment"}


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("import os\nA = os.environ['A']", "<module>"),
        ("def f():\n    return os.getenv('A')", "f"),
        ("from os import environ", "<module>"),
        ("class A:\n    async def g(self, e=None):\n        e = os.environ if e is None else e", "g"),
    ],
)
def test_a_look_at_the_process_environment_is_seen(source: str, where: str) -> None:
    assert list(reads_environment(ast.parse(source))) == [where]


def test_every_program_can_be_started() -> None:
    programs = [file for file in (ROOT / "scripts").iterdir() if file.is_file() and not file.suffix]

    assert {file.name for file in programs} >= {"check", "doctor", "keys", "test"}
    assert [name(file) for file in [*programs, ROOT / ".ci/run"] if not os.access(file, os.X_OK)] == []
    assert [name(file) for file in programs if not file.read_bytes().startswith(b"#!")] == []
