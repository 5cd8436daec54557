"""Finding workflows and group steps in modules, and refusing what cannot be loaded before anything runs."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from orchestrator import Context, group_step, run_workflow, workflow
from orchestrator.durable.group_steps import GroupStep
from orchestrator.errors import ConfigurationError
from orchestrator.runs.definition import Workflow
from orchestrator.runs.loading import groups_of, load_workflows, steps_called, with_subworkflows

if TYPE_CHECKING:
    from pathlib import Path


class Nothing(BaseModel):
    """An input without fields."""


@workflow()
async def plain(ctx: Context, request: Nothing) -> None:
    """Do nothing."""


@group_step("printers")
async def stamp(_: object, text: str) -> str:
    return text


@workflow(group="office")
async def letter(ctx: Context, request: Nothing) -> str:
    """Have a letter stamped."""
    return await ctx.call(stamp, "x")


def module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> str:
    made = ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    return name


def test_the_workflows_of_several_modules_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = workflow(name="other")(plain.body)
    names = [module(monkeypatch, "tests_one", a=plain, x=1), module(monkeypatch, "tests_two", b=other, again=plain)]

    assert load_workflows(names) == {"plain": plain, "other": other}


@workflow()
async def bundle(ctx: Context, request: Nothing) -> object:
    """Run another workflow, in a function of its own."""
    return [await run_letter(ctx) for _ in range(2)]


async def run_letter(ctx: Context) -> object:
    async def run() -> object:
        return await run_workflow(ctx, letter, {})

    return await run()


@workflow(name="letter")
async def another_letter(ctx: Context, request: Nothing) -> None:
    """Have a name that is taken."""


def test_the_workflows_that_a_workflow_runs_are_loaded_with_it_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [module(monkeypatch, "tests_one", a=bundle)]

    assert load_workflows(names) == {"bundle": bundle, "letter": letter}
    assert with_subworkflows([bundle, another_letter]) == (bundle, another_letter)
    assert with_subworkflows([plain]) == (plain,)


def test_a_module_that_is_missing_or_holds_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no.such.module", "no_such_module", "orchestrator.nowhere", module(monkeypatch, "tests_empty", x=1)):
        with pytest.raises(ConfigurationError, match="number 1") as caught:
            load_workflows([name])

        assert name not in str(caught.value)


def test_what_a_module_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests_needy.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ConfigurationError, match="it needs no_such_library"):
        load_workflows(["tests_needy"])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("x = 1\nraise ValueError('s3cret')", "it raised ValueError in its line 2"),
        ("int('s3cret')", "it raised ValueError in its line 1"),
        ("import json\njson.loads('s3cret')", "it raised JSONDecodeError in its line 2"),
        ("import sys\nsys.exit('s3cret')", "it raised SystemExit in its line 2"),
        ("import asyncio\nraise asyncio.CancelledError('s3cret')", "it raised CancelledError in its line 2"),
        ("raise BaseExceptionGroup('s3cret', [GeneratorExit()])", "it raised BaseExceptionGroup in its line 1"),
        ("\ndef f(:", "it raised SyntaxError in its line 2"),
        ("from orchestrator import s3cret_thing", "it raised ImportError in its line 1"),
        ("import tests_broken_helper", "it raised ZeroDivisionError in its line 1"),
        ("raise ExceptionGroup('s3cret', [ValueError('s3cret')])", "it raised ExceptionGroup in its line 1"),
        (
            "from orchestrator import workflow\n@workflow()\ndef f(ctx, request): ...",
            "it raised Misdefined in its line 2: the workflow f must be an async function",
        ),
    ],
)
def test_a_module_that_raises_is_refused_with_the_type_and_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    (tmp_path / "tests_raising.py").write_text(source)
    (tmp_path / "tests_broken_helper.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ConfigurationError) as caught:
        load_workflows(["orchestrator.workflows", "tests_raising"])

    assert str(caught.value) == f"COUNTERSIGN_WORKFLOWS names a module, number 2, that cannot be imported: {reason}"


def test_what_is_interrupted_is_no_fault_of_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests_interrupted.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(KeyboardInterrupt):
        load_workflows(["tests_interrupted"])


def test_an_input_that_no_schema_describes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(BaseModel):
        kind: type = int

    async def odd(ctx: Context, request: Any) -> None: ...

    odd.__annotations__["request"] = Odd
    module = ModuleType("odd_ones")
    vars(module)["odd"] = workflow()(odd)
    monkeypatch.setitem(sys.modules, "odd_ones", module)

    with pytest.raises(ConfigurationError, match="a field that JSON cannot describe, or of an unknown type: odd"):
        load_workflows(["odd_ones"])


def test_two_workflows_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twin: Workflow[Any] = workflow(name="plain")(plain.body)

    with pytest.raises(ConfigurationError, match="plain"):
        load_workflows([module(monkeypatch, "tests_twins", a=plain, b=twin)])


def elsewhere(step: GroupStep[..., Any]) -> Workflow[Any]:
    """Return a workflow of another module, which names that step."""
    module = ModuleType("elsewhere")
    module.__dict__.update(stamp=step, Context=Context, Nothing=Nothing)
    exec("async def other(ctx: Context, request: Nothing): ...", module.__dict__)  # noqa: S102
    return workflow()(module.__dict__["other"])


def test_the_groups_of_workflows_are_their_own_and_those_of_the_steps_their_modules_name() -> None:
    assert groups_of([letter]) == ("office", "printers")
    assert steps_called([letter, letter]) == (stamp,)


def test_two_steps_of_one_name_are_refused() -> None:
    @group_step("printers")
    async def other(_: object) -> None: ...

    impostor = GroupStep(name="stamp", group="forgers", body=other.body)

    with pytest.raises(ConfigurationError, match="two group steps with the same name: stamp"):
        steps_called([letter, elsewhere(impostor)])
