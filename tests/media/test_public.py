"""Which addresses a stranger's redirect may lead to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recado.media.public import is_loopback, is_public


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "13.224.1.1", "54.172.60.1", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::101:101"]
)
def test_a_host_on_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1.1.1.1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:101:101::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "",
        "localhost",
        "2130706433",
        "127.1",
        "0x7f.0.0.1",
        "1.1.1.1:443",
        "[::1]",
    ],
)
def test_any_other_is_not(address: str) -> None:
    assert not is_public(address)


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_as_public_as_itself(address: IPv4Address) -> None:
    number = int(address)
    for wrapped in (IPv6Address((0xFFFF << 32) | number), IPv6Address((0x64FF9B << 96) | number)):
        assert is_public(str(wrapped)) == is_public(str(address))
    assert not is_public(str(IPv6Address((0x2002 << 112) | (number << 80) | 1)))


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_is_taken_for_an_address_by_mistake(text: str) -> None:
    assert not (is_public(text) and is_loopback(text))
