"""Polling many runs by lists: it takes fewer calls, never hides a death, and what no list says is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orchestrator.databricks.jobs import Databricks
from orchestrator.databricks.pace import Held, Pace
from orchestrator.databricks.polls import FRESH, MANY, SPREAD, RunPolls, Seen
from orchestrator.databricks.run import ActiveRuns, JobRun, RunGone
from orchestrator.databricks.sdk import connect as sign_in
from orchestrator.databricks.watcher import Watch, after, after_failure
from orchestrator.errors import StepRefused, StepUnavailable
from orchestrator.testing.emulator.jobs_api import Emulator
from orchestrator.testing.emulator.workspace import Fault, Job

if TYPE_CHECKING:
    from collections.abc import Iterable

INTERVAL = 60.0


class Workspace:
    """Runs by id, and the calls about them."""

    def __init__(self, *, others: int = 0) -> None:
        self.now = 100.0
        self.active: list[int] = []
        self.others = others
        self.reads = self.lists = 0
        self.fault: Exception | None = None
        self.unlistable = False
        self.polls = RunPolls(self.read, self.page, Pace(rate=1e9, clock=lambda: self.now))

    async def read(self, run_id: int) -> JobRun:
        self.reads += 1
        await self._answer()
        over = run_id not in self.active

        return JobRun(
            run_id=run_id,
            job_id=1,
            over=over,
            life_cycle_state="TERMINATED" if over else "RUNNING",
            result_state=None,
            message="",
            page_url=None,
            parameters={},
        )

    async def page(self, page: str | None) -> ActiveRuns:
        self.lists += 1
        await self._answer()

        if self.unlistable:
            raise StepRefused("permission denied")

        every = [*range(-self.others, 0), *self.active]
        start = int(page or 0)

        return ActiveRuns(
            run_ids=frozenset(every[start : start + 25]),
            next_page=str(start + 25) if start + 25 < len(every) else None,
        )

    async def _answer(self) -> None:
        await asyncio.sleep(0)

        if self.fault is not None:
            raise self.fault

    async def poll(self, run_ids: Iterable[int]) -> list[Seen]:
        return await asyncio.gather(*(self.polls.poll(run_id, interval=INTERVAL) for run_id in run_ids))


async def test_a_thousand_runs_take_a_page_for_25_of_them() -> None:
    here = Workspace()
    here.active = [*range(1, 1001)]
    await here.poll(here.active)
    here.reads = here.lists = 0
    here.now += INTERVAL

    assert all(seen.run is None for seen in await here.poll(here.active))
    assert (here.lists, here.reads) == (40, 0)


async def test_few_runs_are_read_one_by_one() -> None:
    here = Workspace()
    here.active = [*range(1, MANY)]

    assert all(seen.run is not None for seen in await here.poll(here.active))
    assert (here.lists, here.reads) == (0, MANY - 1)


async def test_a_run_that_is_not_in_the_list_is_read_so_a_death_is_seen() -> None:
    here = Workspace()
    here.active = [*range(1, 101)]
    await here.poll(here.active)
    here.now += INTERVAL
    here.active.remove(7)

    seen = await here.poll(range(1, 101))
    assert [run.run.run_id for run in seen if run.run is not None] == [7]
    assert [run.run.over for run in seen if run.run is not None] == [True]


async def test_a_list_serves_polls_for_a_part_of_their_interval_and_says_how_old_it_is() -> None:
    here = Workspace()
    here.active = [*range(1, 101)]
    await here.poll(here.active)
    here.now += INTERVAL
    await here.poll([1])
    lists = here.lists
    here.now += FRESH * INTERVAL
    (seen,) = await here.poll([2])
    assert seen.run is None
    assert seen.age == pytest.approx(FRESH * INTERVAL)
    assert here.lists == lists
    here.now += 0.1
    await here.poll([3])
    assert here.lists > lists


async def test_where_others_have_more_runs_than_we_watch_reading_is_not_made_dearer_than_twice() -> None:
    here = Workspace(others=100_000)
    here.active = [*range(1, 101)]
    await here.poll(here.active)
    here.reads = here.lists = 0
    here.now += INTERVAL

    assert all(seen.run is not None for seen in await here.poll(here.active))
    assert here.reads == 100
    assert here.lists <= MANY


async def test_where_listing_is_refused_every_run_is_read() -> None:
    here = Workspace()
    here.active = [*range(1, 101)]
    here.unlistable = True

    assert all(seen.run is not None for seen in await here.poll(here.active))
    assert here.lists == 1


async def test_an_old_list_says_nothing_where_no_new_one_can_be_had() -> None:
    here = Workspace()
    here.active = [*range(1, 101)]
    await here.poll(here.active)
    here.now += INTERVAL
    here.unlistable = True

    assert all(seen.run is not None for seen in await here.poll(here.active))


async def test_runs_that_nobody_polls_any_more_are_forgotten() -> None:
    here = Workspace()
    here.active = [*range(1, 101)]
    await here.poll(here.active)
    here.now += 2 * INTERVAL
    lists = here.lists

    assert all(seen.run is not None for seen in await here.poll(range(1, MANY)))
    assert here.lists == lists


async def test_a_failure_is_known_to_all_and_asked_about_once() -> None:
    here = Workspace()
    here.active = [*range(1, 1001)]
    await here.poll(here.active)
    here.reads = here.lists = 0
    here.now += INTERVAL
    here.fault = StepUnavailable("429", retry_after=20)
    told = await asyncio.gather(
        *(here.polls.poll(run_id, interval=INTERVAL) for run_id in here.active), return_exceptions=True
    )

    assert here.lists + here.reads == 1
    assert [type(error) for error in told].count(Held) == 999
    here.fault = None
    here.now += 20
    assert (await here.poll([1]))[0].run is None


async def test_a_run_that_is_gone_is_gone() -> None:
    here = Workspace()
    here.fault = RunGone(1)

    with pytest.raises(RunGone):
        await here.poll([1])


# -- when a run is polled again -----------------------------------------------

WATCHES = [Watch(promise_id="a.1:1", callback="c", run_id=run_id, interval=INTERVAL) for run_id in range(1, 1001)]


def test_a_run_is_polled_within_an_interval_after_it_was_seen() -> None:
    assert FRESH < 1 - SPREAD, "a run would be polled by the list that it was seen in"

    for age in (0.0, 5.0, FRESH * INTERVAL):
        later = [after(Seen(run=None, age=age), watch) + age for watch in WATCHES]

        assert INTERVAL * (1 - SPREAD) <= min(later) <= max(later) <= INTERVAL
        assert max(later) - min(later) > INTERVAL * SPREAD * 0.9


@pytest.mark.parametrize("asked", [0.0, 10.0, 59.0, 61.0, 3600.0])
def test_after_a_failure_runs_are_polled_after_what_was_asked_for_and_spread(asked: float) -> None:
    later = [after_failure(StepUnavailable("no", retry_after=asked), watch) for watch in WATCHES]

    assert asked <= min(later)
    assert max(later) <= max(asked, 0 if asked >= INTERVAL else INTERVAL) + (INTERVAL if asked >= INTERVAL else 0)
    assert len({round(one, 3) for one in later}) > 500


# -- through the real client --------------------------------------------------


async def test_the_real_client_lists_page_by_page_and_leaves_all_waiting_to_the_pace() -> None:
    with Emulator(jobs={1: Job(fate="hold")}) as emulator:
        databricks = Databricks(lambda: sign_in(host=emulator.url, token=emulator.token), pace=Pace(rate=1e9))
        run_ids = [
            await databricks.trigger(1, idempotency_token=f"{number}", parameters={}) for number in range(2 * MANY)
        ]
        emulator.workspace.move(run_ids[3], "TERMINATED", "SUCCESS")

        async def poll() -> list[Seen]:
            return await asyncio.gather(*(databricks.poll(run_id, interval=INTERVAL) for run_id in run_ids))

        await poll()
        seen = await poll()

        # The list of the second round is that of the first: only what it did not say is read.
        assert [run.run.over for run in seen if run.run is not None] == [True]
        assert [one["path"] for one in emulator.workspace.requests].count("runs/list") == 2

        emulator.workspace.fail_next(Fault(kind="status", on="runs/get", status=429, retry_after=7))
        before = len(emulator.workspace.requests)

        with pytest.raises(StepUnavailable) as told:
            await databricks.poll(run_ids[3], interval=INTERVAL)

        assert 7 <= (told.value.retry_after or 0) < 9

        with pytest.raises(Held):
            await databricks.poll(run_ids[3], interval=INTERVAL)

        assert len(emulator.workspace.requests) == before + 1
