"""Addresses of servers in the one form in which they are compared, signed and shown."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote, urlsplit

import idna

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?!.*\.\.)[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_INSIDE = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff]")
_AROUND = " \t\r\n\v\f\u00a0\u200b\u200e\u200f\u2060\ufeff"


@lru_cache(maxsize=512)
def canonical_base(url: str) -> str:
    """The address that paths are added to: scheme, host, port unless it is the scheme's own, path without a last slash.

    Blanks around it are taken away, the host is in lower case and in the letters of the DNS (IDNA 2008, UTS 46), the
    path percent-encoded. Raises ValueError, which says what is wrong and does not hold the address.
    """
    url = url.strip(_AROUND)
    if _INSIDE.search(url):
        raise ValueError("must be an address without blanks, control characters and backslashes")
    if url.endswith(("?", "#")):
        raise ValueError("must be an http:// or https:// address without query")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be an http:// or https:// address with a host, and a port below 65536 if any") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise ValueError("must be an http:// or https:// address without query")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    host = _host(parts.hostname, bracketed="[" in parts.netloc)
    shown = "" if port is None or port == _PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{host}{shown}{quote(parts.path.rstrip('/'), safe='/%:@!$&()*+,;=~-._' + chr(39))}"


def _host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            return f"[{IPv6Address(host)}]"
        except AddressValueError:
            raise ValueError("must have a host name, or an IPv6 address in brackets") from None
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError:
            raise ValueError("must have a host name that the DNS can hold") from None
    host = host.lower().removesuffix(".")
    if not _NAME.fullmatch(host) or any(len(label) > 63 for label in host.split(".")):
        raise ValueError("must have a host name that the DNS can hold")
    return host
