"""Rules for single files, as functions that yield the violations."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from support.source import at_import, called

#: Modules that are slow to import and not needed by every process, and the files that are imported late for them.
HEAVY = {"databricks", "google", "psycopg", "psycopg_pool", "resonate_pg"}
LATE = {"orchestrator/databricks/sdk.py", "orchestrator/engine/remote/postgres.py"}

#: Calls with effects outside the process; none may happen at import.
EFFECTS = {
    *("open", "connect", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "touch", "unlink"),
    *("urlopen", "socket", "create_connection", "run", "Popen", "system", "load_settings", "load_dotenv", "print"),
}
#: What could turn a request's text into a command, a program or an arbitrary object.
DANGEROUS = {
    *("subprocess", "pickle", "marshal", "shelve", "dill", "code", "codeop", "runpy", "ctypes", "multiprocessing"),
    *("xml", "lxml", "yaml", "eval", "exec", "compile", "system", "popen", "spawnv", "execv", "fork", "unsafe_load"),
}
CONTAINERS = {"dict", "list", "set", "defaultdict", "OrderedDict", "Counter", "deque", "WeakValueDictionary"}


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
        # A value whose type forbids writing is not state.
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


def no_docstring(module: ast.Module) -> Iterator[str]:
    if not ast.get_docstring(module):
        yield "has no docstring"


def reads_environment(module: ast.Module) -> Iterator[str]:
    """Yield the function, or `<module>`, of every read of the process environment."""

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
