"""Dependencies in the programs: a refused start, and a life from the first task to SIGTERM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.configuration import environment
from support.programs import refused, run

from orchestrator.testing.processes import Service, free_port

if TYPE_CHECKING:
    from pathlib import Path

BANK = """
from collections.abc import AsyncIterator
from orchestrator import Context, dependency, workflow
from pydantic import BaseModel

class Bank: ...
class Request(BaseModel): ...

@dependency
async def bank() -> AsyncIterator[Bank]:
    {opening}
    print("opened", flush=True)
    yield Bank()
    print("closed", flush=True)

@workflow()
async def pay(ctx: Context, request: Request) -> str:
    return await ctx.run(name_of_bank)

async def name_of_bank(ctx: Context) -> str:
    return type(ctx.get_dependency(Bank)).__name__
"""


@pytest.mark.parametrize("module", ["receiver", "orchestrator"])
def test_a_dependency_that_cannot_be_opened_refuses_the_start_in_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / "payments.py").write_text(BANK.format(opening="raise OSError(2, 'bank://user:s3cret@host')"))
    engine = "memory://" if module == "receiver" else f"http://127.0.0.1:{free_port()}"
    line = refused(run(module, tmp_path, environment(engine, WORKFLOWS="payments")))

    assert line == (
        "the dependency bank of payments could not be opened: "
        "builtins.FileNotFoundError ENOENT at payments.py:11 in bank"
    )


def test_a_dependency_is_open_while_the_process_works_and_closed_at_sigterm(tmp_path: Path) -> None:
    (tmp_path / "payments.py").write_text(BANK.format(opening="pass"))

    with Service(tmp_path, "memory://", environment={"COUNTERSIGN_WORKFLOWS": "payments"}) as service:
        service.start()
        answer = service.ask("PUT", "/workflows/pay/1", {}, headers={"Prefer": "wait=20"})
        assert answer.document["result"] == "Bank"
        assert service.stop() == 0
        lines = [line for line in service.log.read_text().splitlines() if line in {"opened", "closed"}]

    assert lines == ["opened", "closed"]
