"""Where an owner's webhook may lead: over https to the public internet, or to networks that the operator names.

An address is looked at when it is given, so that a mistake is told at once; what it leads to is looked at whenever it
is connected to (`media/guarded`), because a name may lead elsewhere by then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import quote, urlsplit

from recado.errors import UsageError
from recado.media.public import is_loopback, is_public
from recado.settings import Network
from recado.urls import canonical_base

LONGEST: Final = 2048
#: What stays as it is in a path and in a query.
_SAFE: Final = "/%:@!$&()*+,;=~-._'?"


def canonical(url: str, networks: Sequence[Network] = ()) -> str:
    """The address as it is called. Raises UsageError, which does not hold it, for one that no webhook may have."""
    try:
        parts = urlsplit(url.strip())
        base = canonical_base(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        raise UsageError(f"the address {_told(error)}") from None
    if parts.fragment or url.rstrip().endswith("#"):
        raise UsageError("the address must not hold a fragment (#)")
    if re.search(r"[\s\\\x00-\x1f\x7f]", parts.path + parts.query):
        raise UsageError("the address must be without blanks, control characters and backslashes")
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    found = f"{base}{quote(parts.path or '/', safe=_SAFE)}{query}"
    if len(found) > LONGEST:
        raise UsageError(f"the address must have {LONGEST} characters at most")
    host = urlsplit(base).hostname or ""
    allowed = passes(found, networks)
    if allowed is None:
        raise UsageError("the address must begin with https:// (http:// only to this machine, where that is allowed)")
    if host == "localhost" or host.endswith(".localhost"):
        host = "127.0.0.1"
    if _is_address(host) and not allowed(host):
        raise UsageError("the address must be of the public internet: RECADO_WEBHOOK_NETWORKS allows others")
    return found


def passes(url: str, networks: Sequence[Network]) -> Callable[[str], bool] | None:
    """Which IP addresses this address may lead to; None when it may not be called at all.

    http goes to this machine only, and only when its addresses are among `networks`.
    """
    scheme = urlsplit(url).scheme

    def is_named(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in networks)

    if scheme == "https":
        return lambda text: is_public(text) or is_named(text)
    if scheme == "http" and any(network.is_loopback for network in networks):
        return lambda text: is_loopback(text) and is_named(text)
    return None


def _told(error: ValueError) -> str:
    """What `canonical_base` says, and nothing of what `urlsplit` says: that quotes the address."""
    said = str(error)
    return said if said.startswith("must ") and "'" not in said else "must be an https:// address with a host"


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()
