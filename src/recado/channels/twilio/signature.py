"""Who called: the URL that Twilio called, the parameters as it sent them, and whether its signature is right.

Rules: https://www.twilio.com/docs/usage/security#validating-requests. The official `RequestValidator` is what this
is tested against; it is not called here because it compares in time that depends on the input, mangles URLs with
credentials, an IPv6 host or an empty query, loses repeated parameters of a plain dict, and raises on a JSON body.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

from recado.urls import canonical_base

MAX_FIELDS = 500
"""Twilio sends about forty parameters; what brings more is not Twilio."""

_ALGORITHMS = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_STANDARD_PORTS = {"http": "80", "https": "443"}


def parse_form(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form body as they came: in order, repeated and blank ones kept, nothing trimmed.

    Raises `ValueError` when it is not UTF-8 or has more than `MAX_FIELDS` fields. A percent sign that introduces no
    byte stands for itself, as with every common parser.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise ValueError("too many form fields")
    fields = []
    try:
        for field in body.decode().split("&"):
            if field:
                name, _, value = field.partition("=")
                fields.append((_unquote(name), _unquote(value)))
        return fields
    except UnicodeDecodeError:
        # Raised below, so that the decoder's error, which holds the contact's bytes, does not hang on it.
        pass
    raise ValueError("the form is not UTF-8")


def _unquote(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return unquote_to_bytes(text).decode() if "%" in text else text


def parse_json(body: bytes) -> list[tuple[str, str]]:
    """The members of a JSON object as form fields.

    Numbers and booleans become what JSON writes for them, lists repeated fields; null is left out. Raises
    `ValueError` when it is not UTF-8, not an object, holds objects, or has more than `MAX_FIELDS` values.
    """
    try:
        members = json.loads(body.decode(), parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON in UTF-8") from None
    if not isinstance(members, dict):
        raise ValueError("the JSON body is not an object")  # noqa: TRY004 - a wrong value, not a wrong call
    fields: list[tuple[str, str]] = []
    for name, value in members.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool):
                fields.append((name, "true" if item else "false"))
            elif isinstance(item, str):
                fields.append((name, item))
            elif item is not None:
                raise ValueError("the JSON body holds more than plain values")
    if len(fields) > MAX_FIELDS:
        raise ValueError("too many JSON members")
    return fields


def is_form(content_type: str | None) -> bool:
    """Whether that Content-Type header announces a URL-encoded form."""
    return (content_type or "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"


def sign(url: str, token: str, params: Iterable[tuple[str, str]] = (), *, algorithm: str = "HMAC_SHA1") -> str:
    """The signature that Twilio sends for this URL and these form fields; what the simulator signs with.

    Raises `KeyError` for an algorithm that Twilio does not have.
    """
    text = url + "".join([name + value for name, value in sorted(set(params))])
    digest = hmac.digest(_bytes(token), _bytes(text), _ALGORITHMS[algorithm])
    return base64.b64encode(digest).decode()


def is_signed(
    url: str,
    tokens: Sequence[str],
    signature: str | None,
    content_type: str | None,
    body: bytes,
    params: Sequence[tuple[str, str]],
    *,
    algorithm: str = "HMAC_SHA1",
) -> bool:
    """Whether one of these tokens signed this call. Never raises, whatever came.

    `params` are the parsed fields of a form. Any other body counts only through `bodySHA256` in the URL's query,
    which the signature covers. The URL's port may have been there or not when it was signed. `algorithm` is what
    `X-Twilio-Webhooks-Signature-Settings` names for calls signed with a shared key; then `tokens` are such keys.
    """
    if not signature or algorithm not in _ALGORITHMS:
        return False
    url = url.partition("#")[0]
    if is_form(content_type):
        fields: Iterable[tuple[str, str]] = params
    elif _is_hash_of(body, url):
        fields = ()
    else:
        return False
    tail = _bytes("".join([name + value for name, value in sorted(set(fields))]))
    given = _bytes(signature)
    for variant in _with_and_without_port(url):
        message = _bytes(variant) + tail
        for token in tokens:
            # An empty key would let in everyone who knows that it is empty.
            if token and hmac.compare_digest(
                base64.b64encode(hmac.digest(_bytes(token), message, _ALGORITHMS[algorithm])), given
            ):
                return True
    return False


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _is_hash_of(body: bytes, url: str) -> bool:
    query = url.partition("?")[2]
    if "bodySHA256" not in query:
        return False
    try:
        hashes = parse_qs(query, max_num_fields=MAX_FIELDS).get("bodySHA256", [])
    except ValueError:
        return False
    return bool(hashes) and hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), _bytes(hashes[0].lower()))


def _with_and_without_port(url: str) -> tuple[str, ...]:
    """The URL as it is, then with its port taken away or the standard one added."""
    scheme, mark, rest = url.partition("://")
    cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    host, colon, port = authority.rpartition(":")
    if colon and port.isascii() and port.isdecimal():
        return url, f"{scheme}{mark}{host}{path}"
    standard = _STANDARD_PORTS.get(scheme.lower())
    return (url, f"{scheme}{mark}{authority}:{standard}{path}") if standard and authority else (url,)


def canonical_url(
    scope: Mapping[str, Any], *, public_url: str | None, trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
) -> str:
    """The URL that Twilio called, from an ASGI scope: path and query byte for byte as they came.

    `public_url` decides scheme, host, port and path prefix when it is given. Otherwise what a trusted proxy says in
    X-Forwarded-Proto, -Host, -Port, -Prefix or in Forwarded (RFC 7239), and last the Host header and the scope's
    scheme. With several values the first counts: it is the proxy's that Twilio reached. The server itself must not
    rewrite the scope from such headers (uvicorn: `proxy_headers=False`), or the peer can't be told any more.
    """
    path = _raw_path(scope)
    query = bytes(scope.get("query_string") or b"").decode("latin-1")
    if public_url is not None:
        parts = urlsplit(_base(public_url))
        origin, prefix = f"{parts.scheme}://{parts.netloc}", parts.path
    else:
        origin, prefix = _origin(scope, trusted_proxies)
    prefix = prefix.rstrip("/")
    # A proxy that does not take its prefix away, or a server told of it (root_path), has it in the path already.
    if prefix and path != prefix and not path.startswith(prefix + "/"):
        path = prefix + path
    return f"{origin}{path}?{query}" if query else f"{origin}{path}"


def _base(public_url: str) -> str:
    """As it was checked when it was set; one that was stored before that was so is taken as it is."""
    try:
        return canonical_base(public_url)
    except ValueError:
        return public_url


def _raw_path(scope: Mapping[str, Any]) -> str:
    raw = scope.get("raw_path")
    if raw is None:
        raw = quote(str(scope.get("path", "")), safe="/:@!$&'()*+,;=~", errors="surrogatepass").encode()
    # Some servers leave the query on.
    path = bytes(raw).partition(b"?")[0].decode("latin-1")
    return path or "/"


def _origin(scope: Mapping[str, Any], trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> tuple[str, str]:
    """Scheme, host and port, and the path prefix, without a configured public URL."""
    headers: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        headers.setdefault(bytes(name).decode("latin-1").lower(), bytes(value).decode("latin-1"))
    scheme, host, prefix = str(scope.get("scheme", "http")), headers.get("host", ""), ""
    if not host and (server := scope.get("server")):
        host = str(server[0]) if server[1] is None else f"{server[0]}:{server[1]}"
    if _is_trusted(scope.get("client"), trusted_proxies):
        forwarded = _forwarded(headers.get("forwarded", ""))
        scheme = _first(headers.get("x-forwarded-proto")) or forwarded.get("proto") or scheme
        host = _first(headers.get("x-forwarded-host")) or forwarded.get("host") or host
        port = _first(headers.get("x-forwarded-port"))
        has_port = host.rpartition(":")[2].isdecimal()
        if port.isascii() and port.isdecimal() and not has_port and port != _STANDARD_PORTS.get(scheme.lower()):
            host = f"{host}:{port}"
        prefix = _first(headers.get("x-forwarded-prefix"))
        if prefix and not prefix.startswith("/"):
            prefix = ""
    return f"{scheme.lower()}://{host}", prefix


def _first(value: str | None) -> str:
    return (value or "").partition(",")[0].strip()


def _forwarded(value: str) -> dict[str, str]:
    """The first element of a Forwarded header; neither a host nor a scheme holds a comma or semicolon."""
    pairs = (pair.partition("=") for pair in _first(value).split(";"))
    return {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}


def _is_trusted(client: Sequence[Any] | None, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    if not client or not networks:
        return False
    try:
        address = ip_address(str(client[0]))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
