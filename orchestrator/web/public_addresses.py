"""Which IP addresses a page may be fetched from: public ones, and those that COUNTERSIGN_FETCH_ALLOW names.

A worker stands inside of a network that strangers cannot reach, and a page's address comes from a stranger. So whatever
is not certainly public is refused: the ranges that IANA's registries of special-purpose addresses list, all of IPv6
outside of its public range, and what carries an IPv4 address that is not public. Only addresses are judged here, never
names.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

#: https://www.iana.org/assignments/iana-ipv4-special-registry and
#: https://www.iana.org/assignments/iana-ipv6-special-registry, multicast, and one address beside them. The standard
#: library has most of these, but not the same ones in every version.
_SPECIAL: Final = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            # A public address at which every virtual machine in Azure finds its host.
            "168.63.129.16/32",
            # Teredo and other protocols, documentation, 6to4, documentation.
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    )
)
_PUBLIC_IPV6: Final = IPv6Network("2000::/3")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")

#: Addresses of IPv4 as a translator shows them to machines that only have IPv6 (RFC 6052).
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")


def is_allowed(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Return whether a page may be fetched from this address: it is public or in one of the `allowed` networks.

    An address of this machine is not allowed, even a public one: what listens there may rely on a firewall in between.
    A translator (NAT64) under another prefix than the usual one is not recognised.
    """
    plain = address.ipv4_mapped or address if isinstance(address, IPv6Address) else address

    if any(each in _unmapped(network) for network in allowed for each in (address, plain)):
        return True

    return is_public(plain) and not is_own(plain)


def is_public(address: Address) -> bool:
    """Return whether an address belongs to the public internet and to nothing else."""
    if isinstance(address, IPv6Address):
        if address in _TRANSLATED:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))

        if address not in _PUBLIC_IPV6 or address.scope_id is not None:
            return False

    return address.is_global and not any(address in network for network in _SPECIAL)


def is_own(address: Address) -> bool:
    """Return whether an address belongs to this machine. Nothing is sent: the kernel only looks up a route."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6

    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return str(probe.getsockname()[0]) == str(address)

    except OSError:
        # There is no route to it.
        return False


def _unmapped(network: Network) -> Network:
    """Return the network of IPv4 that a network of IPv4-mapped addresses stands for."""
    if isinstance(network, IPv4Network) or not network.subnet_of(_MAPPED):
        return network

    return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))
