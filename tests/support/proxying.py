"""The reverse proxies of scripts/deploy, started with the unchanged files except for TLS, names and ports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.testing.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    #: Takes the proxy's port, the receivers' ports and a folder; returns the command and its configuration.
    type Proxy = Callable[[int, Sequence[int], Path], tuple[list[str], str]]

DEPLOY = ROOT / "scripts/deploy"


def nginx(port: int, ports: Sequence[int], folder: Path) -> tuple[list[str], str]:
    """Return the command and the configuration, without TLS and within the folder."""
    file = (DEPLOY / "nginx.conf").read_text("utf-8")
    server = re.sub(r"ssl_certificate\w* [^;]*;", "", file).replace("443 ssl", f"127.0.0.1:{port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    inside = _to_ports(server.replace("/var/log/nginx", str(folder)), ports)
    config = f"daemon off; pid {folder}/pid; events {{}} http {{ {places}\n{inside} }}"

    return ["nginx", "-e", f"{folder}/start.log", "-c", str(folder / "config")], config


def caddy(port: int, ports: Sequence[int], folder: Path) -> tuple[list[str], str]:
    """Return the command and the configuration, without TLS and without Caddy's own API."""
    file = (DEPLOY / "Caddyfile").read_text("utf-8")
    config = file.replace("callbacks.example.org {", f":{port} {{").replace("\n{\n", "\n{\n    admin off\n", 1)

    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "config")], _to_ports(config, ports)


def _to_ports(config: str, ports: Sequence[int]) -> str:
    return config.replace(":8000", f":{ports[0]}").replace(":8001", f":{ports[1]}")
