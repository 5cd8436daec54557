"""Arguments are bound as Python binds them, only sooner."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from orchestrator.durable.fixed_signature import FixedSignature

NONE, ONE, TWO = FixedSignature.of(), FixedSignature.of("start"), FixedSignature.of("a", "b")


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [(NONE, ()), (ONE, ({"a": 1},)), (TWO, (1, None))],
)
def test_as_many_arguments_as_parameters_are_bound_as_python_binds_them(
    signature: FixedSignature, arguments: tuple[Any, ...]
) -> None:
    bound, expected = signature.bind(*arguments), inspect.Signature.bind(signature, *arguments)
    bound.apply_defaults()
    expected.apply_defaults()

    assert (bound.args, bound.kwargs, bound.arguments) == (expected.args, expected.kwargs, expected.arguments)


def test_an_argument_that_was_changed_is_passed_on_changed() -> None:
    bound = ONE.bind(1)
    bound.arguments["start"] = 2

    assert bound.args == (2,)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), ((), {"start": 1}), ((1,), {"other": 1})])
def test_other_arguments_are_refused(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        ONE.bind(*args, **kwargs)


def test_it_stays_one_when_the_sdk_takes_the_context_out_of_it() -> None:
    signature = FixedSignature.of("ctx", "start")
    without = signature.replace(parameters=list(signature.parameters.values())[1:])

    assert isinstance(without, FixedSignature)
    assert without.bind(7).arguments == {"start": 7}
