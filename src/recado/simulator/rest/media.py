"""Twilio's media resource: the files of a message, listed, deleted, and had by a redirect to the second host."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from recado.simulator import state as records
from recado.simulator.engine import Engine
from recado.simulator.rest import files as second_host
from recado.simulator.rest.call import Answer, Request, befall, integer, not_allowed, not_found, refuse, rfc_2822
from recado.simulator.state import Account, Media


async def answer(
    engine: Engine, request: Request, account: Account, message_sid: str, sid: str | None, *, as_json: bool
) -> Answer:
    """Answer a call of a message's list of files, of a file's record, or of the file itself."""
    request.sid = sid or message_sid
    message = engine.state.by_sid.get(message_sid)
    own = message if message is not None and message.account_sid == account.sid else None
    await befall(engine, request, "media", own)
    done = _answer(engine, request, account, message_sid, sid, as_json=as_json)
    refuse(request.effect.refusal_when("after"))
    return done


def _answer(
    engine: Engine, request: Request, account: Account, message_sid: str, sid: str | None, *, as_json: bool
) -> Answer:
    if sid is None:
        message = engine.state.by_sid.get(message_sid)
        if message is None or message.account_sid != account.sid or not as_json:
            raise not_found(request.path)
        if request.method != "GET":
            raise not_allowed()
        files = [engine.state.media[sid] for sid in message.media if sid in engine.state.media]
        return Answer(status=200, body=_page(request, files))
    media = engine.state.media.get(sid)
    if media is None or (media.account_sid, media.message_sid) != (account.sid, message_sid):
        raise not_found(request.path)
    if request.method == "DELETE":
        records.remove_file(engine.state, media.sid)
        return Answer(status=204)
    if request.method not in ("GET", "HEAD"):
        raise not_allowed()
    if as_json:
        return Answer(status=200, body=media_json(media))
    if engine.now() < media.created_at + engine.pace.media_ms / 1000:
        raise not_found(request.path)
    return Answer(status=307, location=request.effect.redirect_to or second_host.signed_url(engine, media))


def _page(request: Request, there: list[Media]) -> dict[str, Any]:
    size = integer(dict(parse_qsl(request.query)).get("PageSize"), 50)
    uri = f"{request.path}?PageSize={size}&Page=0"
    return {
        "media_list": [media_json(media) for media in there],
        "start": 0,
        "end": max(len(there) - 1, 0),
        "page": 0,
        "page_size": size,
        "first_page_uri": uri,
        "next_page_uri": None,
        "previous_page_uri": None,
        "uri": uri,
    }


def media_json(media: Media) -> dict[str, Any]:
    """The media resource."""
    date = rfc_2822(int(media.created_at))
    return {
        "account_sid": media.account_sid,
        "content_type": media.content_type,
        "date_created": date,
        "date_updated": date,
        "parent_sid": media.message_sid,
        "sid": media.sid,
        "uri": f"/2010-04-01/Accounts/{media.account_sid}/Messages/{media.message_sid}/Media/{media.sid}.json",
    }
