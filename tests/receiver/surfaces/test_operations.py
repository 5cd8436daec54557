"""Endpoints for operators and tools: liveness, readiness, metrics, and the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from support.edge import Edge, edge, get, problem
from support.plant import PATIENCE, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Edge]:
    async with edge(tmp_path) as one:
        yield one


async def test_the_process_says_that_it_lives_and_that_its_engine_answers(here: Edge) -> None:
    assert (await here.client.get("/healthz")).status_code == 200
    assert (await here.client.get("/readyz")).status_code == 200


async def test_metrics_are_for_key_holders_and_hold_no_token(here: Edge) -> None:
    answering = await here.asked()
    await here.client.post(f"/callbacks/{answering}", json=1)

    problem(await here.client.get("/metrics"), 401, "unauthorized")
    answer = await get(here, "/metrics")
    assert 'countersign_callbacks_total{outcome="applied"} 1.0' in answer.text
    assert 'route="/callbacks/{token}"' in answer.text
    assert answering not in answer.text


async def test_metrics_say_what_workflows_do_and_what_is_open(here: Edge) -> None:
    token = await here.asked()
    await here.asked("2")
    assert "countersign_open_waits 2.0" in (await get(here, "/metrics")).text

    await here.client.post(f"/callbacks/{token}", json=1)
    await here.ended()
    text = (await get(here, "/metrics")).text

    assert 'countersign_workflows_started_total{workflow="ask"} 2.0' in text
    assert 'countersign_workflows_ended_total{state="succeeded",workflow="ask"} 1.0' in text
    assert "countersign_open_waits 1.0" in text
    assert "countersign_oldest_wait_seconds " in text


async def test_metrics_say_how_many_workflows_wait_in_memory(here: Edge) -> None:
    # The first is suspended, whatever it waits for.
    await here.client.post(f"/callbacks/{await here.asked()}", json=1)
    await here.ended()
    await here.asked("2")

    async with asyncio.timeout(PATIENCE):
        while "countersign_cached_workflows 1.0" not in (await get(here, "/metrics")).text:
            await pause(0.02)


async def test_the_description_of_the_api_is_public_and_names_the_workflows(here: Edge) -> None:
    document = (await here.client.get("/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    assert "deadline" in json.dumps(document["components"]["schemas"])
