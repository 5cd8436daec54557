"""Finding the workflows, group steps and dependencies that the configured modules define."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from pydantic.errors import PydanticUserError

from orchestrator.durable.dependencies import Dependency
from orchestrator.durable.group_steps import GroupStep
from orchestrator.errors import ConfigurationError, Misdefined
from orchestrator.runs.definition import Workflow
from orchestrator.text.crashes import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType


@dataclass(frozen=True)
class Loaded:
    """A dependency of every worker: the names of all workflows that are loaded, whichever group runs them."""

    names: frozenset[str]


def with_subworkflows(workflows: Iterable[Workflow[Any]]) -> tuple[Workflow[Any], ...]:
    """Return these workflows and those that they run: those that their code names, and so on.

    Of several versions of a workflow it is the highest, with the others as its `earlier` ones. Of two workflows with
    the same name and version, the first one counts.
    """
    found: dict[str, dict[int, Workflow[Any]]] = {}
    open_ones = [each for one in workflows for each in (one, *one.earlier)]

    for one in open_ones:
        if found.setdefault(one.name, {}).setdefault(one.version, one) is one:
            open_ones += [each for each in _named_in(one.body) if each.version not in found.get(each.name, {})]

    return tuple(_newest([versions[each] for each in sorted(versions)]) for versions in found.values())


def _newest(versions: list[Workflow[Any]]) -> Workflow[Any]:
    *earlier, newest = versions

    return replace(newest, earlier=tuple(reversed(earlier))) if earlier else newest


def steps_called(workflows: Iterable[Workflow[Any]]) -> tuple[GroupStep[..., Any], ...]:
    """Return the group steps that these workflows can call: those that their modules name.

    Raises:
        ConfigurationError: two of them have the same name, and steps are called by name.
    """
    found: dict[str, GroupStep[..., Any]] = {}

    for one in workflows:
        for step in _named_by(one):
            if found.setdefault(step.name, step) is not step:
                raise ConfigurationError(
                    "COUNTERSIGN_WORKFLOWS", f"has two group steps with the same name: {step.name}"
                )

    return tuple(found.values())


def _named_by(workflow: Workflow[Any]) -> tuple[GroupStep[..., Any], ...]:
    """Return the group steps that the workflow's own module defines or imports."""
    bodies = (each.body for each in (workflow, *workflow.earlier))
    names = {id(value): value for body in bodies for value in getattr(body, "__globals__", {}).values()}

    return tuple(value for value in names.values() if isinstance(value, GroupStep))


def _named_in(body: Callable[..., Any]) -> Iterator[Workflow[Any]]:
    """Yield the workflows that a function's code names, or a function of its module that it names, and so on."""
    first = inspect.unwrap(body)
    functions = {first: None} if inspect.isfunction(first) else {}
    home = getattr(first, "__globals__", {})

    for function in (open_ones := list(functions)):
        for value in [home[name] for name in _names(function.__code__) if name in home]:
            if isinstance(value, Workflow):
                yield value
            elif inspect.isfunction(value) and value.__globals__ is home and value not in functions:
                functions[value] = None
                open_ones.append(value)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the global names that this code uses, and the code of what is defined inside it."""
    yield from code.co_names

    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def dependencies_of(
    workflows: Iterable[Workflow[Any]], modules: Iterable[str] = (), *, group: str | None = None
) -> tuple[Dependency[Any], ...]:
    """Return the dependencies that a worker of this group opens, or of all groups: those that the modules name.

    Besides the loaded `modules` these are the modules of the workflows and of the steps that those import by name.
    """
    found: dict[int, Dependency[Any]] = {}
    chosen = tuple(workflows)
    named = [getattr(each.body, "__globals__", {}) for one in chosen for each in (one, *one.earlier)]
    listed = [vars(sys.modules[name]) for name in modules if name in sys.modules]

    for names in (*listed, *named, *(step for each in named for step in _modules_of_steps(each))):
        found |= {id(value): value for value in tuple(names.values()) if isinstance(value, Dependency)}

    return tuple(one for one in found.values() if group is None or one.group in {None, group})


def _modules_of_steps(names: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the modules name from which a module with these names imports steps."""
    for value in tuple(names.values()):
        body = getattr(value, "body", value)

        if inspect.isroutine(body) and inspect.iscoroutinefunction(function := inspect.unwrap(body)):
            yield function.__globals__


def groups_of(workflows: Iterable[Workflow[Any]]) -> tuple[str, ...]:
    """Return the worker groups that these workflows need, in order of their names."""
    chosen = tuple(workflows)

    own = {each.group for one in chosen for each in (one, *one.earlier)}

    return tuple(sorted(own | {step.group for step in steps_called(chosen)}))


def load_workflows(modules: Iterable[str]) -> dict[str, Workflow[Any]]:
    """Return the workflows that these modules define or import, and those that they can run, by name.

    Of several versions it is the highest, with the others as its `earlier` ones.

    Raises:
        ConfigurationError: a module cannot be imported or has no workflow, two workflows have the same name and
            version, or no JSON schema describes the input of one.
    """
    found: list[Workflow[Any]] = []

    for number, module_name in enumerate(modules, start=1):
        module = _imported(module_name, number)
        defined = [value for value in vars(module).values() if isinstance(value, Workflow)]

        if not defined:
            raise _unusable(number, "that has no workflow")

        found += defined

    _refuse_twins(found)
    _refuse_indescribable(found)

    return {one.name: one for one in with_subworkflows(found)}


def _refuse_twins(workflows: Iterable[Workflow[Any]]) -> None:
    found: dict[tuple[str, int], Workflow[Any]] = {}

    for one in workflows:
        if found.setdefault((one.name, one.version), one) is not one:
            which = one.name if one.version == 1 else f"{one.name}, version {one.version}"
            raise ConfigurationError("COUNTERSIGN_WORKFLOWS", f"has two workflows with the same name: {which}")


def _refuse_indescribable(workflows: Iterable[Workflow[Any]]) -> None:
    for one in workflows:
        try:
            one.request.model_json_schema()
        except PydanticUserError as error:
            raise ConfigurationError(
                "COUNTERSIGN_WORKFLOWS",
                f"has a workflow whose input has a field that JSON cannot describe, or of an unknown type: {one.name}",
            ) from error


def _imported(name: str, number: int) -> ModuleType:
    """Import a module. An error may name what the module needs, but not the module: its name is the setting's value."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        foreign = error.name if error.name and not f"{name}.".startswith(f"{error.name}.") else None
        needs = f": it needs {foreign}" if foreign else ""

        raise _unusable(number, f"that cannot be imported{needs}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = f": {error}" if isinstance(error, Misdefined) else ""

        raise _unusable(number, f"that cannot be imported: {_raised(error, name)}{text}") from error


def _unusable(number: int, reason: str) -> ConfigurationError:
    return ConfigurationError("COUNTERSIGN_WORKFLOWS", f"names a module, number {number}, {reason}")


def _raised(error: BaseException, module_name: str) -> str:
    """Return the type of the error and where it comes from: a line of the module, or of a file that it imports."""
    names = module_name.split(".")
    found = places(error)
    own = [(file, line) for file, line in found if {Path(file).stem, Path(file).parent.name} & set(names)]
    file, line = (own or found or [("", 0)])[-1]
    where = f"in its line {line}" if own else f"at {Path(file).name}:{line}"

    return f"it raised {type(error).__name__} {where}"
