"""Hosts of the configuration: which ones can be, and which are this machine."""

from __future__ import annotations

from orchestrator.config.strict_urls import is_host, is_loopback


def test_loopback_is_by_address_and_one_name() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.255.255.254", "::1"))
    assert not any(is_loopback(host) for host in ("", "localhost.", "0.0.0.0", "::", "::ffff:127.0.0.1", "example.org"))


def test_a_host_is_a_name_or_an_address() -> None:
    assert all(is_host(host) for host in ("a", "a-b.c_d", "10.0.0.1", "::", "a." * 126 + "a"))
    assert not any(is_host(host) for host in ("", "a b", "a..b", "1.2.3", "10", "[::1]", "fe80::1%1", "a." * 127 + "a"))
