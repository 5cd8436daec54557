"""The project's own source, for the tests of its rules: files, names, imports, and circular imports."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Rooms of programs that come with the wheel but are not part of the service.
PROGRAMS = ("receiver/benchmark/", "receiver/commands/", "orchestrator/testing/")

#: Functions that import a module by its name as a string.
LOADERS = {"import_module", "__import__"}

type Rule = Callable[[ast.Module], Iterator[str]]


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below these folders, without symbolic links."""
    files = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))

    return sorted(file for file in files if not file.is_symlink())


def product() -> list[Path]:
    """Return the files of the service, without the other programs."""
    return [file for file in python_files("orchestrator", "receiver") if not name(file).startswith(PROGRAMS)]


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"), str(file))


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def module_name(path: str) -> str:
    """Return the dotted name of a file; a package's `__init__` keeps that as its last part."""
    return path.removesuffix(".py").replace("/", ".")


def violations(rule: Rule, files: list[Path]) -> list[str]:
    return [f"{name(file)} {fault}" for file in files for fault in rule(tree(file))]


def imported(module: ast.Module) -> Iterator[str]:
    """Yield the top-level package of every import anywhere in the module."""
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(source), level=0):
                yield source.partition(".")[0]
            case ast.Call(args=[ast.Constant(value=str(source)), *_]) if called(node) in LOADERS:
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


def imports_of(module: ast.Module, known: Iterable[str]) -> set[str]:
    """Return which of the known modules this one imports anywhere, including imports for the type checker."""
    modules = set(known)
    found: set[str] = set()
    candidates: list[tuple[str, ...]]

    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                candidates = [(alias.name,) for alias in names]
            case ast.ImportFrom(module=str(source), names=names, level=0):
                candidates = [(f"{source}.{alias.name}", source) for alias in names]
            case _:
                continue

        for several in candidates:
            spellings = (each for one in several for each in (one, f"{one}.__init__"))
            found |= set([each for each in spellings if each in modules][:1])

    return found


def import_graph(sources: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Return for each module, by its dotted name, which of the other modules it imports."""
    return {module: imports_of(source, sources) - {module} for module, source in sources.items()}


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the sets of nodes that can all be reached from each other, by Kosaraju's algorithm."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(node: str, edges: Mapping[str, set[str]], into: list[str]) -> None:
        seen.add(node)

        for other in sorted(edges.get(node, ())):
            if other not in seen:
                visit(other, edges, into)

        into.append(node)

    for node in sorted(graph):
        if node not in seen:
            visit(node, graph, order)

    backwards: dict[str, set[str]] = {}
    for node, others in graph.items():
        for other in others:
            backwards.setdefault(other, set()).add(node)

    seen.clear()
    found: list[set[str]] = []

    for node in reversed(order):
        if node not in seen:
            circle: list[str] = []
            visit(node, backwards, circle)
            found.append(set(circle))

    return [circle for circle in found if len(circle) > 1]
