"""Every workflow that ships, with a process that dies once before and once after every recorded change."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import WorkflowCancelled, WorkflowExpired, WorkflowFailed
from orchestrator.durable.kept_files import KeptFiles
from orchestrator.llm.chat import LanguageModel
from orchestrator.llm.replies import Reply
from orchestrator.runs.loading import load_workflows
from orchestrator.testing import Trial
from orchestrator.web.pages import Page, PageRecord, Pages
from orchestrator.workflows import approve_and_ship, databricks_pipeline, price_quote, process_order, summarize_website
from orchestrator.workflows.shop.order_book import OrderBook
from orchestrator.workflows.summary.answers import Answers

if TYPE_CHECKING:
    from orchestrator.testing.trial.runs import Run

ADA, OPS = "ada@example.org", "ops@example.org"
BOTH = pytest.mark.parametrize("everywhere", [False, True])
ORDERED = {"order_id": "42", "items": ["MUG"], "customer": "ada"}
ORDER = {"order_id": "42", "approver": ADA, "summary": "Two books, paid."}


class Ledger(OrderBook):
    """The order book in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, int] = {}

    async def enter(self, key: str, *, order_id: str, customer: str, total_cents: int) -> int:
        return self.entries.setdefault(key, len(self.entries))


class Lost(OrderBook):
    """An order book that nobody finds."""

    async def enter(self, key: str, *, order_id: str, customer: str, total_cents: int) -> int:
        raise FileNotFoundError


@BOTH
async def test_price_quote(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(price_quote, crash_everywhere=everywhere) as trial:
        run = await trial.start(price_quote, {"sku": "MUG", "quantity": 3})

        assert (await run.result())["quantity"] == 3


@BOTH
async def test_process_order(everywhere: bool) -> None:  # noqa: FBT001
    ledger = Ledger()

    async with Trial(process_order, dependencies={OrderBook: ledger}, crash_everywhere=everywhere) as trial:
        for number in range(3):
            run = await trial.start(process_order, {"order_id": str(number), "items": ["MUG"], "customer": "ada"})
            result = await run.result()
            assert (result["status"], result["earlier_orders"]) == ("shipped", number)

    assert len(ledger.entries) == 3


@BOTH
async def test_process_order_that_cannot_be_entered(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(process_order, dependencies={OrderBook: Lost()}, crash_everywhere=everywhere) as trial:
        run = await trial.start(process_order, ORDERED)
        await trial.advance(timedelta(minutes=10))

        with pytest.raises(WorkflowFailed, match="FileNotFoundError"):
            await run.result()

        assert await refunds(run) == ["succeeded"]


@BOTH
async def test_process_order_that_is_cancelled_while_its_group_fails(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(process_order, dependencies={OrderBook: Lost()}, crash_everywhere=everywhere) as trial:
        run = await trial.start(process_order, ORDERED)
        await run.cancel()

        with pytest.raises(WorkflowCancelled):
            await run.result()

        assert await refunds(run) == ["succeeded"]


async def refunds(run: Run) -> list[str]:
    """Return how each refund of the run ended."""
    return [step.state for step in await run.steps() if step.name == "refund"]


@BOTH
async def test_approve_and_ship_that_is_cancelled(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(approve_and_ship, crash_everywhere=everywhere) as trial:
        run = await trial.start(approve_and_ship, {**ORDER, "remind_after": 86_400})
        await trial.advance(timedelta(days=1))
        await run.cancel()

        with pytest.raises(WorkflowCancelled):
            await run.result()


@BOTH
async def test_approve_and_ship(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(approve_and_ship, crash_everywhere=everywhere) as trial:
        run = await trial.start(approve_and_ship, {**ORDER, "remind_after": 86_400})
        await trial.advance(timedelta(days=3))
        question = await run.waiting("approval")
        await question.decide("approve", by=ADA, comment="Go ahead.")
        result = await run.result()

    assert (result["status"], result["decided_by"], result["comment"]) == ("shipped", ADA, "Go ahead.")
    # A mail may be sent twice, with the same link.
    assert len({mail.subject for mail in trial.mail}) == 2
    assert {mail.links for mail in trial.mail} == {(question.link,)}
    assert len(trial.mail) == 4 or (everywhere and len(trial.mail) > 4)


@BOTH
async def test_approve_and_ship_without_an_answer(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(approve_and_ship, crash_everywhere=everywhere) as trial:
        run = await trial.start(approve_and_ship, {**ORDER, "deadline": 3600})
        await trial.advance(timedelta(hours=1))

        assert (await run.result())["status"] == "expired"


@BOTH
async def test_a_pipeline_that_calls_back(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(databricks_pipeline, crash_everywhere=everywhere) as trial:
        run = await trial.start(databricks_pipeline, {"job_id": 7, "parameters": {"day": "monday"}, "notify": OPS})
        (job,) = trial.jobs.runs
        await trial.advance(timedelta(minutes=10))
        await (await run.waiting("run-1")).succeed({"rows": 3})

        assert await run.result() == {"run_id": job.run_id, "outcome": "succeeded", "result": {"rows": 3}}

    assert job.parameters["day"] == "monday"
    assert len(trial.jobs.runs) == 1
    assert {mail.to for mail in trial.mail} == {OPS}


@BOTH
async def test_a_pipeline_whose_job_dies_twice(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(databricks_pipeline, crash_everywhere=everywhere) as trial:
        run = await trial.start(databricks_pipeline, {"job_id": 7, "attempts": 2})

        for number in (1, 2):
            assert len(trial.jobs.runs) == number
            trial.jobs.die(trial.jobs.runs[-1].run_id)
            await trial.advance(timedelta(minutes=2))

        assert await error_of(run, WorkflowFailed) == ("died", trial.jobs.runs[1].run_id)


@BOTH
async def test_a_pipeline_at_its_deadline(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(databricks_pipeline, crash_everywhere=everywhere) as trial:
        run = await trial.start(databricks_pipeline, {"job_id": 7, "deadline": 600})
        await trial.advance(timedelta(minutes=15))
        (job,) = trial.jobs.runs

        assert await error_of(run, WorkflowExpired) == ("expired", job.run_id)
        assert (job.life_cycle_state, job.result_state) == ("TERMINATED", "CANCELED")


@BOTH
@pytest.mark.parametrize("after", [timedelta(0), timedelta(minutes=10)])
async def test_a_pipeline_that_is_cancelled(after: timedelta, everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(databricks_pipeline, crash_everywhere=everywhere) as trial:
        run = await trial.start(databricks_pipeline, {"job_id": 7, "attempts": 2, "notify": OPS})
        await trial.advance(after)
        await run.cancel()
        (job,) = trial.jobs.runs

        assert await error_of(run, WorkflowCancelled) == ("cancelled", job.run_id)
        assert (job.life_cycle_state, job.result_state) == ("TERMINATED", "CANCELED")

    assert {mail.to for mail in trial.mail} == {OPS}


@BOTH
async def test_a_pipeline_that_is_cancelled_before_its_second_attempt(everywhere: bool) -> None:  # noqa: FBT001
    async with Trial(databricks_pipeline, crash_everywhere=everywhere) as trial:
        run = await trial.start(databricks_pipeline, {"job_id": 7, "attempts": 2})
        await (await run.waiting("run-1")).fail("out of memory")
        await run.cancel()
        (job,) = trial.jobs.runs

        assert await error_of(run, WorkflowCancelled) == ("cancelled", job.run_id)


class Newspaper(Pages):
    """A page that is always there."""

    async def fetch(self, url: str) -> Page:
        text, at = "Keys open doors.", "2026-11-26T10:00:00.000Z"
        record = PageRecord(url=url, final_url=url, title="News", digest=text, length=len(text), fetched_at=at)

        return Page(record=record, text=text)


class Talker(LanguageModel):
    """A model that never says the same twice."""

    name = "talker"

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def ask(self, conversation: Any, *, key: str) -> Reply:
        self.asked += 1

        return Reply(text=f"Summary {self.asked}.")


@BOTH
async def test_summarize_website(tmp_path: Path, everywhere: bool) -> None:  # noqa: FBT001
    talker = Talker()
    doubles = {Pages: Newspaper(), LanguageModel: talker, Answers: Answers(KeptFiles(tmp_path))}

    async with Trial(summarize_website, dependencies=doubles, crash_everywhere=everywhere) as trial:
        run = await trial.start(summarize_website, {"url": "https://news.example.org/", "reviewer": ADA})

        for number, decision in enumerate(["reject", "reject", "approve"], start=1):
            question = await run.waiting(f"review-{number}")
            await question.decide(decision, by=ADA, comment=f"Comment {number}.")

        result = await run.result()

    assert (result["status"], result["rounds"]) == ("approved", 3)
    assert talker.asked == 3


def test_each_workflow_that_ships_is_here() -> None:
    tried = re.findall(r"Trial\((\w+),", Path(__file__).read_text())

    assert load_workflows(["orchestrator.workflows"]).keys() == set(tried)


async def error_of(run: Any, kind: type[WorkflowFailed | WorkflowExpired | WorkflowCancelled]) -> tuple[Any, Any]:
    with pytest.raises(kind) as raised:
        await run.result()

    return raised.value.error["outcome"], raised.value.error["run_id"]
