"""Defining workflows and finding them: what is taken, and what is refused before anything runs."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel
from support.plant import plant

from orchestrator import Context, workflow
from orchestrator.errors import ConfigurationError, WorkflowFailed
from orchestrator.runs.definition import Workflow, field_of
from orchestrator.runs.loading import load_workflows
from orchestrator.runs.roots import Ending, Start

if TYPE_CHECKING:
    from pathlib import Path


class Request(BaseModel):
    """An input."""

    n: int = 0


@workflow()
async def plain(ctx: Context, request: Request) -> Any:
    """Return what it was given.

    More of this is not shown.
    """
    return [ctx.info.id, request.n, request]


def module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> str:
    made = ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    return name


def test_a_workflow_is_named_after_its_function_and_summed_up_by_its_docstring() -> None:
    assert (plain.name, plain.summary, plain.request, plain.group) == (
        "plain",
        "Return what it was given.",
        Request,
        "default",
    )


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a:b", "x" * 65, "é"])
def test_a_name_that_could_not_be_in_an_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        workflow(name=name)(plain.body)


def test_a_function_of_another_shape_is_refused() -> None:
    async def without_request(ctx: Context) -> None: ...
    async def without_model(ctx: Context, request: dict[str, int]) -> None: ...
    def not_async(ctx: Context, request: Request) -> None: ...

    for body in (without_request, without_model, not_async):
        with pytest.raises(TypeError, match=body.__name__):
            workflow()(body)  # type: ignore[arg-type]


def test_the_workflows_of_several_modules_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = workflow(name="other")(plain.body)
    names = [module(monkeypatch, "tests_one", a=plain, x=1), module(monkeypatch, "tests_two", b=other, again=plain)]

    assert load_workflows(names) == {"plain": plain, "other": other}


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


def test_two_workflows_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twin: Workflow[Any] = workflow(name="plain")(plain.body)

    with pytest.raises(ConfigurationError, match="plain"):
        load_workflows([module(monkeypatch, "tests_twins", a=plain, b=twin)])


async def test_a_result_may_hold_what_pydantic_can_write(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", plain) as works:
        await works.start("a", n=7)

        assert await works.ended("a") == ("succeeded", ["plain.a", 7, {"n": 7}])


async def test_a_stored_input_that_fits_no_more_fails_the_workflow_and_names_the_field(tmp_path: Path) -> None:
    async with plant(tmp_path, "memory://", plain) as works:
        await works.start("a", n="not a number, but secret")
        state, error = await works.ended("a")

    assert state == "failed"
    assert "n" in error["message"].rpartition(":")[2]
    assert "secret" not in error["message"]


def test_an_input_is_bound_to_its_root() -> None:
    stored = Start(root_id="plain.a", text='{"n": 1}').stored()

    assert Start.read(stored, root_id="plain.a").request == {"n": 1}

    for other in (stored, {}, None, "x", {"countersign": 2, "root": "plain.b"}):
        with pytest.raises(WorkflowFailed):
            Start.read(other, root_id="plain.b")


@pytest.mark.parametrize("name", ["countersign", "root", "request"])
def test_an_input_that_is_incomplete_or_of_another_form_starts_nothing(name: str) -> None:
    stored = Start(root_id="plain.a", text='{"n": 1}').stored()
    missing = {key: held for key, held in stored.items() if key != name}

    for other in (missing, stored | {name: None}, stored | {name: 2}, stored | {name: {"n": 1}}):
        with pytest.raises(WorkflowFailed, match="not one that was started under this id"):
            Start.read(other, root_id="plain.a")


def test_a_result_that_is_no_json_is_refused() -> None:
    for result in (float("nan"), object()):
        with pytest.raises(ValueError, match=r"."):
            Ending.succeeded(result)


def test_a_field_is_named_with_its_place() -> None:
    assert field_of(("items", 2)) == "items.2"
    assert field_of(()) == "input"
