"""Which tests are slow, so that `scripts/test --fast` skips them, and which ports each test process uses.

A test is slow if it is a whole flow (tests/e2e, tests/documents), or uses an engine or a browser that is a process of
its own. Other tests that start a process or take seconds have `pytest.mark.slow`. A test that starts a process without
being marked as slow fails.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import pytest

from orchestrator.testing import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOWS = {"e2e", "documents"}
FIXTURES = {"database", "browser"}
ENGINES = {"postgres", "server"}

_quick: list[pytest.Item] = []


def is_slow(item: pytest.Item) -> bool:
    """Return whether a test counts as slow without a mark of its own."""
    chosen = getattr(item, "callspec", None)
    values = chosen.params.values() if chosen else ()
    engines = {value for value in values if isinstance(value, str)} & ENGINES
    fixtures = FIXTURES & set(getattr(item, "fixturenames", ()))

    return bool(engines or fixtures or FLOWS & set(item.path.relative_to(item.config.rootpath).parts))


@contextlib.contextmanager
def only_slow_tests_start_processes(item: pytest.Item) -> Iterator[None]:
    """Fail a test that starts a process, unless it is slow."""
    if item.get_closest_marker("slow"):
        yield
        return

    if _refuse not in _hooked:
        sys.addaudithook(_refuse)
        _hooked.append(_refuse)

    _quick.append(item)

    try:
        yield
    finally:
        _quick.clear()


def ports_of_this_worker() -> None:
    """Give each parallel test process its own range of ports, because a port is picked before it is bound."""
    worker, count = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = processes._PORTS[int(worker.removeprefix("gw")) :: count]
    processes._given.update(set(processes._PORTS) - set(own))


_hooked: list[object] = []


def _refuse(event: str, _: object) -> None:
    if event == "subprocess.Popen" and _quick:
        pytest.fail(f"{_quick[0].nodeid} starts a process: mark it with pytest.mark.slow")
