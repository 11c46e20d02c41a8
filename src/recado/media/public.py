"""Which addresses are of the public internet: the ones that a stranger's redirect may lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

#: Beyond what Python's own list calls not global, which has grown with its versions: RFC 6890 and its registries.
_KEPT_OUT: Final = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "198.18.0.0/15",
            "168.63.129.16",  # Azure's host, which answers for the machine
        ),
    )
)
_GLOBAL_V6: Final = ip_network("2000::/3")
#: IETF protocol assignments, Teredo among them; documentation; 6to4, which carries an IPv4 address of any kind.
_KEPT_OUT_V6: Final = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
#: An IPv4 address as seen through a network's NAT64 (RFC 6052).
_NAT64: Final = ip_network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether it is the address of a host on the public internet; False also for what is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_v4(address) if isinstance(address, IPv4Address) else _is_public_v6(address)


def is_loopback(text: str) -> bool:
    """Whether it is an address of this very machine."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


def _is_public_v4(address: IPv4Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _KEPT_OUT)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address.scope_id is not None or address not in _GLOBAL_V6 or not address.is_global:
        return False
    return not any(address in network for network in _KEPT_OUT_V6)
