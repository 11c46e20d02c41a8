"""What browsers bring along: the session's cookie, and word of which site's page made them ask.

A browser sends the cookie whoever's page makes it ask. So what changes something counts only if the browser says that
one of our own pages asked: by `Sec-Fetch-Site`, which no page can write, or else by `Origin`
(https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from fastapi import Request, Response

from recado.api.shared.problems import Problem
from recado.identity import known_browsers, sessions
from recado.identity.sessions import Cookie

#: Methods that change nothing here.
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS: Final = {"http": 80, "https": 443}


def token_of(request: Request) -> str | None:
    """The session's token that the browser has, whatever it is worth."""
    return request.cookies.get(_cookie(request).name)


def known_by(request: Request) -> str | None:
    """The token by which the browser may be known, whatever it is worth."""
    return request.cookies.get(known_browsers.cookie(secure=_is_secure(request)).name)


def keep(request: Request, response: Response, token: str) -> None:
    """Have the browser keep the token, as long as the session can last."""
    _set(response, _cookie(request), token)


def know(request: Request, response: Response, token: str) -> None:
    """Have the browser keep the token by which it will be known."""
    _set(response, known_browsers.cookie(secure=_is_secure(request)), token)


def _set(response: Response, made: Cookie, token: str) -> None:
    response.set_cookie(
        made.name,
        token,
        max_age=made.max_age_s,
        path=made.path,
        secure=made.secure,
        httponly=made.httponly,
        samesite=made.samesite,
    )


def forget(request: Request, response: Response) -> None:
    """Have the browser throw the token away."""
    made = _cookie(request)
    response.delete_cookie(
        made.name, path=made.path, secure=made.secure, httponly=made.httponly, samesite=made.samesite
    )


def check_site(request: Request, *, silent: bool) -> None:
    """Raise Problem (403) for a request that another site's page may have made.

    `silent` says whether one is let through that says nothing: no browser's, as long as no cookie counts.
    """
    if request.method in SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site == "same-origin"
    elif origin is not None:
        ours = _is_ours(request, origin)
    else:
        ours = silent
    if not ours:
        raise Problem(403, "with a session, only our own pages may ask this, over https: see Origin, Sec-Fetch-Site")


def _cookie(request: Request) -> Cookie:
    return sessions.cookie(secure=_is_secure(request))


def _is_secure(request: Request) -> bool:
    """Whether the browser reaches us by https: always, but for a developer's who asks their own machine by http.

    A header that claims https is believed of anyone: it can only make the cookie stricter.
    """
    public_url = request.app.state.wiring.settings.public_url or ""
    claims = request.headers.get("x-forwarded-proto", "") + request.headers.get("forwarded", "")
    if "https" in (request.scope["scheme"], urlsplit(public_url).scheme) or "https" in claims.lower():
        return True
    return (_split("http", request.headers.get("host", "")).hostname or "") not in _LOOPBACK


def _is_ours(request: Request, origin: str) -> bool:
    """Whether an origin is the public URL's, or that of the host that was asked."""
    asking = _parse(origin)
    if asking is None or asking.scheme not in _PORTS or (_is_secure(request) and asking.scheme != "https"):
        return False
    public = _parse(request.app.state.wiring.settings.public_url or "")
    asked = _split(asking.scheme, request.headers.get("host", ""))
    return _place(asking) in (_place(asked), _place(public) if public else None)


def _parse(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 and parts.hostname else None
    except ValueError:
        return None


def _split(scheme: str, host: str) -> SplitResult:
    return _parse(f"{scheme}://{host}") or SplitResult(scheme, "", "", "", "")


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
