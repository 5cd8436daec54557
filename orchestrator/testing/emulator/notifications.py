"""A job's notifications, as Databricks sends them to a webhook: with basic authentication, unsigned, without an id.

After https://docs.databricks.com/aws/en/jobs/notifications. A run that succeeded with failures counts as a success
there, and one that was skipped or cancelled as a failure.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import urllib.request
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from orchestrator.testing.emulator.definitions import Job, Webhook
    from orchestrator.testing.emulator.records import Run

#: Seconds for which a notification waits for its receiver.
_TIMEOUT: Final = 10.0

_SUCCESS: Final = frozenset({"SUCCESS", "SUCCESS_WITH_FAILURES"})


def event_of(run: Run) -> str:
    """Return the event that a run's present state is."""
    if not run.over:
        return "jobs.on_start"

    return "jobs.on_success" if run.result_state in _SUCCESS else "jobs.on_failure"


def notification(event: str, run: Run, job: Job) -> dict[str, Any]:
    """Return the body of a notification."""
    return {
        "event_type": event,
        "workspace_id": "1",
        "run": {"run_id": str(run.run_id)},
        "job": {"job_id": str(run.job_id), "name": job.name or f"job {run.job_id}"},
    }


def send(webhook: Webhook, body: dict[str, Any]) -> None:
    """Send a notification from a thread of its own, once: a lost one is lost, as with Databricks."""
    threading.Thread(target=_post, args=(webhook, body), name="databricks-notification", daemon=True).start()


def _post(webhook: Webhook, body: dict[str, Any]) -> None:
    credentials = base64.b64encode(f"{webhook.user}:{webhook.password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - the address that a test or its author gave
        webhook.url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Basic {credentials}"},
    )

    with contextlib.suppress(OSError, http.client.HTTPException), urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310
        pass
