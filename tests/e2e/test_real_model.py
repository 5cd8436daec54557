"""`summarize_website` with a real language model. Nothing is claimed of what it writes, only that the loop runs.

Set TEST_LLM to the address of an OpenAI-compatible server, in the form of COUNTERSIGN_LLM. For example, with Ollama:
TEST_LLM='http://127.0.0.1:11434/v1?model=gemma3:270m'
"""

from __future__ import annotations

import os
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.loopback import QuietHandler, loopback_server

from orchestrator.testing.processes import Service, wait_until

MODEL = os.environ.get("TEST_LLM", "")
LINK = re.compile(r"^http://\S+/approvals/\S+$", re.MULTILINE)


class Page(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802 - the base class calls it so
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b"Bees tell each other where flowers are by a dance. Its angle stands for the sun.")


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not MODEL, reason="TEST_LLM names no language model; see the top of this file")
def test_a_real_model_writes_a_summary_and_another_one(tmp_path: Path) -> None:
    variables = {"COUNTERSIGN_LLM": MODEL, "COUNTERSIGN_FETCH_ALLOW": "127.0.0.0/8"}

    with loopback_server(Page) as url, Service(tmp_path, "sqlite:///engine.db", environment=variables) as service:
        service.start()
        service.ask("PUT", "/workflows/summarize_website/1", {"url": url, "reviewer": "ada@example.org"})

        for number, decision in enumerate(("reject", "approve"), start=1):
            wait_until(f"summary {number}", lambda number=number: len(links(service)) == number, seconds=800)  # type: ignore[misc]
            form = urllib.parse.urlencode({"decision": decision, "comment": "Say what the angle means."})
            urllib.request.urlopen(links(service)[-1], data=form.encode(), timeout=60).close()  # noqa: S310 - loopback

        wait_until("the end", lambda: state(service)["state"] != "running")
        result = state(service)["result"]

    assert (result["status"], result["rounds"]) == ("approved", 2)
    assert result["summary"].strip()


def links(service: Service) -> list[str]:
    return list(dict.fromkeys(LINK.findall(service.log.read_text())))


def state(service: Service) -> dict[str, Any]:
    return dict(service.ask("GET", "/workflows/summarize_website/1").document)
