"""Pages that a receiver fetches, as a process with its own event loop and another process that reads the markup."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.loopback import QuietHandler, loopback_server

from orchestrator.testing.processes import Service, wait_until

ADA = "ada@example.org"
SENTENCE = "Bees tell each other where flowers are by a dance whose angle stands for the direction of the sun."
HTML = f"<title>Bees</title><nav>Home</nav><article><p>{SENTENCE}</p></article><script>var x = 1</script>".encode()


class Pages(QuietHandler):
    """A web site. `held` lets go of the page that takes long; `asked` is what was asked for."""

    held: threading.Event
    asked: list[str]

    def do_GET(self) -> None:  # noqa: N802 - the base class calls it so
        self.asked.append(self.path)

        match self.path:
            case "/moved":
                self.answer(302, b"", Location="/bees")
            case "/inside":
                self.answer(302, b"", Location="http://[::1]/")
            case "/bees":
                self.answer(200, HTML)
            case "/script":
                self.answer(200, b"<html><body><div id=root></div><script src=app.js></script></body></html>")
            case "/slow":
                self.held.wait(60)
                self.answer(200, HTML)
            case _:
                self.answer(404, b"")

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)

        for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
            self.send_header(name, value)

        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def site() -> Iterator[tuple[str, type[Pages]]]:
    handler: type[Pages] = type("Handler", (Pages,), {"held": threading.Event(), "asked": []})

    with loopback_server(handler) as url:
        yield url, handler


def of(service: Service, run: str, url: str) -> dict[str, Any]:
    """Start a summary of this page, and return how it ended or what it waits for."""
    path = f"/workflows/summarize_website/{run}"
    service.ask("PUT", path, {"url": url, "reviewer": ADA})

    def waits_or_ended() -> bool:
        document = service.ask("GET", f"{path}?steps=1").document

        return bool(document["state"] != "running" or any(step["name"] == "review-1" for step in document["steps"]))

    wait_until(f"{run} has a page or a reason", waits_or_ended)

    return dict(service.ask("GET", path).document)


def test_pages_are_fetched_or_refused_with_the_reason(tmp_path: Path, site: tuple[str, type[Pages]]) -> None:
    url, _ = site

    with Service(tmp_path, "memory://", environment={"COUNTERSIGN_FETCH_ALLOW": "127.0.0.0/8"}) as service:
        service.start()
        assert of(service, "page", f"{url}/moved")["state"] == "running"
        wait_until("the reviewer is asked", lambda: SENTENCE in service.log.read_text())
        assert "Bees" in service.log.read_text()
        assert "var x" not in service.log.read_text()

        reasons = {
            f"{url}/nowhere": "there is no such page: 127.0.0.1 answered 404",
            f"{url}/script": "the page holds no text; perhaps a script in it would fetch some, and scripts are not run",
            f"{url}/inside": "::1 is at an address that is not public, from which no page is fetched "
            "(COUNTERSIGN_FETCH_ALLOW names exceptions)",
            "http://no-such-host.invalid/": "no page can be fetched from no-such-host.invalid: names under .invalid do "
            "not resolve",
        }

        for number, (page, reason) in enumerate(reasons.items()):
            ended = of(service, f"refused-{number}", page)

            assert (ended["state"], ended["error"]) == ("failed", {"message": reason})


def test_a_process_that_dies_while_it_fetches_a_page_fetches_it_again(
    tmp_path: Path, site: tuple[str, type[Pages]]
) -> None:
    url, handler = site

    with Service(tmp_path, "sqlite:///engine.db", environment={"COUNTERSIGN_FETCH_ALLOW": "127.0.0.0/8"}) as service:
        service.start()
        service.ask("PUT", "/workflows/summarize_website/1", {"url": f"{url}/slow", "reviewer": ADA})
        wait_until("the page is asked for", lambda: handler.asked == ["/slow"])
        service.kill()
        handler.held.set()
        service.start()
        wait_until("the reviewer is asked", lambda: SENTENCE in service.log.read_text())

        assert handler.asked == ["/slow", "/slow"]
        (kept,) = (tmp_path / ".countersign/pages").iterdir()
        assert kept.stat().st_mode & 0o777 == 0o600
