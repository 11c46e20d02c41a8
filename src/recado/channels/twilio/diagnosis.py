"""Why a signature does not hold: the known ways in which a call is changed on its way, tried until one fits.

Each way is a small step from what arrived towards what may have been signed. The combination with the fewest steps
under which some token gives the signature is the explanation. Nothing here holds or shows a token's text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from urllib.parse import parse_qs, quote, unquote, urlsplit

from recado.channels.twilio.signature import is_form, is_signed, parse_form

Fields = tuple[tuple[str, str], ...]

_PORTS = ("80", "443", "8000", "8080", "8443", "3000", "5000")
_WEBHOOKS = "/channels/twilio/"
#: Parameters whose value follows from the others or hardly ever differs.
_USUAL = {
    "NumMedia": "0",
    "NumSegments": "1",
    "ApiVersion": "2010-04-01",
    "SmsStatus": "received",
    "MessageType": "text",
}
_OFTEN_BLANK = ("Body", "ProfileName", "ButtonText", "ButtonPayload", "ReferralNumMedia")
_MOST_STEPS = 3
#: There may be a thousand other accounts.
_MOST_STEPS_OF_OTHERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token to try, and what it may be called in front of people."""

    name: str
    text: str = field(repr=False)
    own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A way in which the call was changed, and what to do about it."""

    name: str
    text: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`explained` when some token gives the signature once `causes` are undone; none means that it holds."""

    explained: bool
    token: str | None
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """One of the forms that URL or parameters may have had, with how it came to differ."""

    value: str | Fields
    causes: tuple[Cause, ...]


def diagnose(
    url: str,
    body: bytes,
    signature: str,
    tokens: Sequence[Token],
    *,
    content_type: str = "application/x-www-form-urlencoded",
    public_urls: Sequence[str] = (),
) -> Diagnosis:
    """What explains the signature. `url` is the one that recado checks against, `body` what arrived, byte for byte.

    `public_urls` are the addresses that recado is known by. Raises ValueError when a form can't be read.
    """
    given, mended = _mended(signature)
    fields = tuple(parse_form(body)) if is_form(content_type) else ()
    for token in tokens:
        if is_signed(url, [token.text], signature, content_type, body, fields):
            other = () if token.own else (_wrong_account(token),)
            return Diagnosis(explained=True, token=token.name, causes=other)
    urls = sorted(_urls(url, public_urls), key=lambda step: len(step.causes))
    bodies = [_Step((), ())] if not is_form(content_type) else list(_bodies(fields))
    lost = () if is_form(content_type) else _hash_causes(url, body)
    for steps in range(_MOST_STEPS + 1):
        found = _search(urls, bodies, given, tokens, steps)
        if found is not None:
            token, causes = found
            return Diagnosis(explained=True, token=token.name, causes=(*mended, *lost, *causes))
    return Diagnosis(explained=False, token=None, causes=lost)


def _search(
    urls: Sequence[_Step], bodies: Sequence[_Step], given: bytes, tokens: Sequence[Token], steps: int
) -> tuple[Token, tuple[Cause, ...]] | None:
    tails = [(_joined(step.value), step.causes) for step in bodies if len(step.causes) <= steps]
    for url in urls:
        assert isinstance(url.value, str)  # noqa: S101 - `_urls` makes them
        start = url.value.encode()
        for tail, tail_causes in tails:
            # A token of somebody else is a step too.
            left = steps - len(url.causes) - len(tail_causes)
            if left < 0:
                continue
            for token in tokens:
                if (left == 0 if token.own else left == 1 and steps <= _MOST_STEPS_OF_OTHERS) and _gives(
                    token, start + tail, given
                ):
                    other = () if token.own else (_wrong_account(token),)
                    return token, (*other, *url.causes, *tail_causes)
    return None


def _gives(token: Token, message: bytes, given: bytes) -> bool:
    return any(hmac.digest(token.text.encode(), message, name) == given for name in ("sha1", "sha256"))


def _joined(fields: str | Fields) -> bytes:
    assert not isinstance(fields, str)  # noqa: S101 - `_bodies` makes them
    return "".join(name + value for name, value in fields).encode("utf-8", "surrogatepass")


def _wrong_account(token: Token) -> Cause:
    return Cause(
        name="account",
        text=f"it was signed with the token of {token.name}",
        fix="the AccountSid in the body and the account that signs must be the same: look at the webhook's owner",
    )


def _mended(signature: str) -> tuple[bytes, tuple[Cause, ...]]:
    """The signature's bytes, and what had to be mended to read it."""
    text = signature
    for change in (lambda old: old, str.strip, unquote, lambda old: old.strip().replace(" ", "+")):
        text = change(signature)
        padded = text + "=" * (-len(text) % 4)
        try:
            raw = base64.b64decode(padded, validate=True)
        except ValueError:
            continue
        if len(raw) in (20, 32):
            if padded == signature:
                return raw, ()
            fix = "hand the header X-Twilio-Signature on as it came"
            return raw, (Cause(name="signature", text="the signature itself was changed on the way", fix=fix),)
    return b"", ()


def _urls(url: str, public_urls: Sequence[str]) -> Iterator[_Step]:
    """The forms that the URL may have had when it was signed."""
    url = url.partition("#")[0]
    parts = urlsplit(url)
    host = parts.hostname or ""
    hosts: list[tuple[str, tuple[Cause, ...]]] = [(host, ())]
    for known in public_urls:
        other = urlsplit(known).hostname or ""
        if other and other not in [name for name, _ in hosts]:
            hosts.append((other, (_cause("host", f"Twilio called the host {other}, recado sees {host}"),)))
    for name, host_causes in hosts:
        for scheme, scheme_causes in _schemes(parts.scheme):
            for port, port_causes in _ports(str(parts.port) if parts.port else ""):
                for path, path_causes in _paths(parts.path, public_urls):
                    for query, query_causes in _queries(parts.query):
                        causes = (*host_causes, *scheme_causes, *port_causes, *path_causes, *query_causes)
                        if len(causes) <= _MOST_STEPS:
                            text = f"{scheme}://{name}{port and ':' + port}{path}{query and '?' + query}"
                            yield _Step(text, causes)


_FIXES = {
    "host": "set RECADO_PUBLIC_URL (or `recado accounts set --public-url`) to what Twilio calls",
    "scheme": "set RECADO_PUBLIC_URL to the address that Twilio calls, or have the proxy send X-Forwarded-Proto "
    "and list it in RECADO_TRUSTED_PROXIES",
    "port": "set RECADO_PUBLIC_URL with the port that Twilio calls, or let the proxy send X-Forwarded-Port",
    "path": "put the path prefix into RECADO_PUBLIC_URL, or let the proxy send X-Forwarded-Prefix",
    "query": "let the proxy hand the query on as it came (nginx: proxy_pass without a path, or with $request_uri)",
    "body": "hand the body on byte for byte: no filter, framework or gateway may read it and write it again",
}


def _cause(name: str, text: str) -> Cause:
    return Cause(name=name, text=text, fix=_FIXES[name])


Variants = Iterator[tuple[str, tuple[Cause, ...]]]


def _schemes(scheme: str) -> Variants:
    yield scheme, ()
    other = "http" if scheme == "https" else "https"
    yield other, (_cause("scheme", f"Twilio called {other}://, recado sees {scheme}://"),)


def _ports(port: str) -> Variants:
    yield port, ()
    if port:
        yield "", (_cause("port", f"Twilio called without a port, recado sees :{port}"),)
    for other in _PORTS:
        if other != port:
            yield other, (_cause("port", f"Twilio called port {other}, recado sees {':' + port if port else 'none'}"),)


def _paths(path: str, public_urls: Sequence[str]) -> Variants:
    yield path, ()
    seen = {path}
    prefixes = {urlsplit(known).path.rstrip("/") for known in public_urls} - {""}
    at = path.find(_WEBHOOKS)
    others = [
        (prefix + path, f"Twilio called a path that begins with {prefix}, which was taken away") for prefix in prefixes
    ]
    if at > 0:
        others.append((path[at:], f"Twilio called a path without {path[:at]}, which was put in front"))
    others += [
        (path.rstrip("/") + "/", "Twilio called the path with a slash at its end"),
        (path.rstrip("/") or "/", "Twilio called the path without the slash at its end"),
        (unquote(path), "the path was percent-encoded on the way"),
        (quote(path, safe="/"), "the path was percent-decoded on the way"),
    ]
    for other, text in others:
        if other not in seen:
            seen.add(other)
            yield other, (_cause("path", text),)


def _queries(query: str) -> Variants:
    yield query, ()
    seen = {query}
    pairs = [pair for pair in query.split("&") if pair]
    others = [
        ("", "Twilio called without a query: one was added on the way"),
        (unquote(query), "the query was percent-encoded on the way"),
        (quote(query, safe="=&+"), "the query was percent-decoded on the way"),
        (query.replace("+", "%20"), "the query was written anew (%20 became +)"),
        (query.replace("%20", "+"), "the query was written anew (+ became %20)"),
        *(("&".join(pairs[:i] + pairs[i + 1 :]), "a query parameter was added on the way") for i in range(len(pairs))),
    ]
    for other, text in others:
        if other not in seen:
            seen.add(other)
            yield other, (_cause("query", text),)


def _bodies(fields: Fields) -> Iterator[_Step]:
    """The forms that the parameters may have had when they were signed, joined as Twilio does: sorted, each once."""
    seen: set[Fields] = set()

    def step(changed: Iterable[tuple[str, str]], text: str | None, *, in_order: bool = True) -> Iterator[_Step]:
        value = tuple(sorted(set(changed))) if in_order else tuple(changed)
        if value not in seen:
            seen.add(value)
            yield _Step(value, () if text is None else (_cause("body", text),))

    yield from step(fields, None)
    yield from step((), "the signature covers no parameters: JSON that became a form, or the body was replaced")
    for text, change in _REWRITES:
        yield from step(((name, change(value)) for name, value in fields), text)
        for at, (name, value) in enumerate(fields):
            yield from step((*fields[:at], (name, change(value)), *fields[at + 1 :]), f"{text}, in {name}")
    first = dict(reversed(fields))
    yield from step(first.items(), "a repeated parameter was added, or the signer counted only the first")
    yield from step(dict(fields).items(), "a repeated parameter was added, or the signer counted only the last")
    yield from step(fields, "the signer did not sort the parameters: it is not Twilio", in_order=False)
    folded = sorted(set(fields), key=lambda pair: pair[0].lower())
    yield from step(folded, "the signer sorted without regard to case: it is not Twilio", in_order=False)
    for count in (1, 2):
        for gone in combinations(range(len(fields)), count):
            names = " and ".join(fields[at][0] for at in gone)
            yield from step((pair for at, pair in enumerate(fields) if at not in gone), f"{names} was added on the way")
    missing = [pair for pair in _guesses(first) if pair[0] not in first]
    for count in (1, 2):
        for lost in combinations(missing, count):
            names = " and ".join(f"{name} ({value or 'blank'})" for name, value in lost)
            yield from step((*fields, *lost), f"{names} was dropped on the way")


def _guesses(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    guesses = [(name, "") for name in _OFTEN_BLANK]
    guesses += _USUAL.items()
    if sid := fields.get("MessageSid"):
        guesses += [("SmsMessageSid", sid), ("SmsSid", sid)]
    if digits := fields.get("From", "").rpartition("+")[2]:
        guesses.append(("WaId", digits))
    return guesses


_REWRITES = (
    ("the + of a number became a space: it was decoded twice", lambda text: re.sub(r"(?<=:) (?=\d)", "+", text)),
    (
        "a + became a space: the form was decoded twice, or percent-encoding was lost",
        lambda text: text.replace(" ", "+"),
    ),
    ("a space became a +: the form was written anew without decoding it", lambda text: text.replace("+", " ")),
    ("percent-encoded twice", unquote),
    ("percent-decoded twice", lambda text: quote(text, safe="")),
    ("line ends were changed (CR LF became LF)", lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n")),
    ("line ends were changed (LF became CR LF)", lambda text: text.replace("\r\n", "\n")),
    ("a space at the end was trimmed", lambda text: text + " "),
    ("a line end at the end was trimmed", lambda text: text + "\n"),
    ("a space at the start was trimmed", lambda text: " " + text),
    ("read as Latin-1 and written as UTF-8", lambda text: _recoded(text)),
)


def _recoded(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _hash_causes(url: str, body: bytes) -> tuple[Cause, ...]:
    """What the body's hash in the URL says about a body that is no form."""
    hashes = parse_qs(urlsplit(url).query).get("bodySHA256", [])
    if not hashes:
        text = "the body is no form, and the URL holds no bodySHA256: nothing vouches for the body"
        return (Cause(name="bodySHA256", text=text, fix="keep the query that Twilio calls, and the Content-Type"),)
    if hashlib.sha256(body).hexdigest() == hashes[0].lower():
        return ()
    text = "the body is not the one whose SHA-256 the URL holds"
    for variant, how in _json_variants(body):
        if hashlib.sha256(variant).hexdigest() == hashes[0].lower():
            text += f": {how}"
            break
    return (Cause(name="bodySHA256", text=text, fix=_FIXES["body"]),)


def _json_variants(body: bytes) -> Iterator[tuple[bytes, str]]:
    yield body.strip(), "white space was added at its ends"
    yield body + b"\n", "its last line end was taken away"
    try:
        members = json.loads(body)
    except ValueError:
        return
    for separators in ((",", ":"), (", ", ": ")):
        for ascii_only in (True, False):
            text = json.dumps(members, separators=separators, ensure_ascii=ascii_only)
            yield text.encode(), "the JSON was written anew"
