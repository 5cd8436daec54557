"""The address of a Databricks workspace as people give it: copied from a browser, `?o=` and all.

The library appends the API's paths to whatever it is given, so with `https://adb-1.2.azuredatabricks.net/?o=1` it asks
for pages that do not exist. Nothing is looked up here.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

# Databricks' own domains on each cloud. A path on them is that of a web page.
_OWN: Final = re.compile(r"(?:.+\.)?(?:azure)?databricks\.[a-z.]{2,16}")
_WORKSPACE: Final = re.compile(r"[0-9]{1,20}", re.ASCII)


def workspace_address(text: str) -> tuple[str, str | None]:
    """Return the base of a workspace's API, and the workspace's id if the address has it as `?o=`.

    A path is kept if it may be that of a gateway: on a host that is not Databricks' own, without query and fragment.

    Raises:
        ValueError: there is no host in it, or it is neither http nor https. The message quotes nothing.
    """
    given = text.strip()
    unfit = ValueError("is not the address of a workspace")

    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
    except ValueError:
        raise unfit from None

    if not parts.hostname or parts.scheme not in {"http", "https"} or re.search(r"\s", parts.netloc):
        raise unfit

    # Some pages have it inside the fragment: https://HOST/#job/1?o=2.
    queries = (parts.query, parts.fragment.partition("?")[2])
    found = next((ids[0] for query in queries if (ids := parse_qs(query).get("o"))), "")
    copied = bool(parts.query or parts.fragment or _OWN.fullmatch(parts.hostname))
    path = "" if copied else parts.path.rstrip("/")

    return f"{parts.scheme}://{parts.netloc}{path}", found if _WORKSPACE.fullmatch(found) else None


def is_web_page(text: str) -> bool:
    """Return whether this may be the address of a web page, and so the target of a link."""
    return text.startswith(("https://", "http://")) and text.isprintable()


def run_page(workspace: str, *, job_id: int, run_id: int) -> str | None:
    """Return the address of a run's page in this workspace, None if the workspace's own address cannot be used.

    For a run whose `run_page_url` is not known. The form is the one that the workspace's own pages have.
    """
    try:
        base, workspace_id = workspace_address(workspace)
    except ValueError:
        return None

    return f"{base}/jobs/{job_id}/runs/{run_id}{'' if workspace_id is None else f'?o={workspace_id}'}"
