"""Which addresses pages are fetched from."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.public_addresses import Address, is_allowed, is_own, is_public

PUBLIC = (
    *("8.8.8.8", "93.184.216.34", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"),
    *("192.169.0.1", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "11.0.0.0", "126.255.255.255"),
    *("2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2400:cb00::1", "64:ff9b::8.8.8.8"),
)

NOT_PUBLIC = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1"),
    *("169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.192", "192.0.2.1"),
    *("192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::7f00:1", "::10.0.0.1", "::ffff:0:127.0.0.1", "100::1", "fc00::1", "fd00:ec2::254", "fe80::1"),
    *(
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:10::1",
        "2001:2::1",
    ),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1", "3fff::1", "5f00::1", "64:ff9b::127.0.0.1"),
    *("64:ff9b::169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "1::1", "4000::1", "2606:4700::1%eth0"),
)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_allowed(text: str) -> None:
    assert is_allowed(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_that_is_not_certainly_public_is_not_allowed(text: str) -> None:
    assert not is_allowed(ip_address(text))


@pytest.mark.parametrize("text", [each for each in NOT_PUBLIC if "%" not in each])
def test_an_address_that_is_not_public_is_allowed_where_it_is_named(text: str) -> None:
    address = ip_address(text)

    assert is_allowed(address, [ip_network("192.0.2.77"), ip_network(address)])
    assert not is_allowed(address, [ip_network("192.0.2.77"), ip_network("2001:db8:77::/48")])


@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_an_ipv4_address_in_ipv6_is_what_it_is_without(text: str) -> None:
    mapped, plain = ip_address(f"::ffff:{text}"), ip_address(text)

    assert not is_allowed(mapped)
    assert is_allowed(mapped, [ip_network(plain)])
    assert is_allowed(mapped, [ip_network(mapped)])
    assert is_allowed(plain, [ip_network(mapped)])
    assert is_allowed(ip_address("::ffff:8.8.8.8"))


@pytest.mark.parametrize("text", ["127.0.0.1", "::1"])
def test_an_address_of_this_machine_is_recognised(text: str) -> None:
    assert is_own(ip_address(text))


@pytest.mark.parametrize("text", ["192.0.2.1", "8.8.8.8", "2606:4700::1111", "255.255.255.255"])
def test_an_address_of_another_machine_is_not_ours(text: str) -> None:
    assert not is_own(ip_address(text))


def test_a_public_address_of_this_machine_is_not_allowed_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.web.public_addresses.is_own", lambda address: str(address) == "8.8.8.8")

    assert not is_allowed(ip_address("8.8.8.8"))
    assert not is_allowed(ip_address("::ffff:8.8.8.8"))
    assert is_allowed(ip_address("8.8.8.8"), [ip_network("8.8.8.8")])
    assert is_allowed(ip_address("8.8.4.4"))


@given(st.ip_addresses())
def test_what_the_standard_library_calls_special_is_never_public(address: Address) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    special |= address.is_reserved or address.is_unspecified

    assert not (special and is_public(address)) or address in ip_network("64:ff9b::/96")
