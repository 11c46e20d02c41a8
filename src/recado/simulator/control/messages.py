"""Messages and threads of the control API: contacts write, tap, read; threads are shown."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException

from recado.channels.twilio.addresses import given_address
from recado.simulator import feed, inbound, kinds, outbound
from recado.simulator import state as records
from recado.simulator.contents import Choice
from recado.simulator.control.bodies import ContactBody, MessageBody, ResendBody, TapBody, ThreadBody, WindowBody
from recado.simulator.control.found import file_of, message_of, number_of, threads_of
from recado.simulator.engine import Engine
from recado.simulator.kinds import Pick, Tap, Writing
from recado.simulator.state import Message


def add_messages(router: APIRouter, engine: Engine) -> None:
    """Add the routes of what contacts do."""
    _writing(router, engine)
    _threads(router, engine)


def _writing(router: APIRouter, engine: Engine) -> None:
    @router.post("/messages", status_code=201)
    async def send(body: MessageBody) -> dict[str, Any]:
        account, number = number_of(engine, body.account_sid, body.to)
        files = [file_of(engine, sid) for sid in body.files]
        if any(media.account_sid != account.sid or media.message_sid for media in files):
            raise HTTPException(409, "a file is another account's, or was sent before")
        writing = Writing(**{name: getattr(body, name) for name in Writing.model_fields})
        try:
            messages = [
                inbound.receive(
                    engine,
                    account=account,
                    number=number,
                    contact=body.from_,
                    writing=part,
                    media=media,
                    profile_name=body.profile_name,
                    extra=body.params,
                    message_sid=body.message_sid,
                )
                for part, media in kinds.one_each(writing, files)
            ]
        except ValueError as error:
            raise HTTPException(409, str(error)) from error
        return await _delivered(engine, messages, times=1, wait=body.wait)

    @router.post("/messages/{sid}/resend")
    async def resend(sid: str, body: ResendBody) -> dict[str, Any]:
        message = message_of(engine, sid, "inbound")
        return await _delivered(engine, [message], times=body.times, wait=body.wait)

    @router.post("/messages/{sid}/tap", status_code=201)
    async def tap(sid: str, body: TapBody) -> dict[str, Any]:
        message = message_of(engine, sid, "outbound-api")
        choices = message.face.choices if message.face is not None else ()
        choice = next((one for one in choices if body.choice in (one.id, one.title)), None)
        if choice is None or choice.does not in ("reply", "title", "item"):
            there = ", ".join(one.title for one in choices) or "nothing"
            raise HTTPException(404, f"{sid} has no {body.choice} to tap; it has {there}")
        account, number = number_of(engine, message.account_sid, message.number)
        answer = inbound.receive(
            engine, account=account, number=number, contact=message.contact, writing=_answer(message, choice)
        )
        return await _delivered(engine, [answer], times=1, wait=body.wait)


def _answer(message: Message, choice: Choice) -> Writing:
    """What tapping this choice writes."""
    if choice.does == "item":
        pick = Pick(id=choice.id, title=choice.title, description=choice.description)
        return Writing(pick=pick, quotes=message.sid)
    payload = choice.id if choice.does == "reply" else None
    return Writing(tap=Tap(title=choice.title, payload=payload), quotes=message.sid)


def _threads(router: APIRouter, engine: Engine) -> None:
    @router.post("/contacts", status_code=201)
    async def add_contact(body: ContactBody) -> dict[str, Any]:
        number_of(engine, body.account_sid, body.number)
        thread = records.thread_of(engine.state, body.account_sid, body.number, body.contact)
        thread.name = body.name or thread.name
        feed.tell_thread(engine.feed, engine.state, thread, engine.now())
        return feed.summary(engine.state, thread, engine.now())

    @router.get("/threads")
    async def threads(limit: int | None = None) -> dict[str, Any]:
        latest = sorted(
            engine.state.threads.values(),
            key=lambda thread: thread.messages[-1].seq if thread.messages else 0,
            reverse=True,
        )
        return {"threads": [feed.summary(engine.state, thread, engine.now()) for thread in latest[:limit]]}

    @router.get("/threads/{contact}")
    async def thread(
        contact: str, account_sid: str | None = None, number: str | None = None, limit: int | None = None
    ) -> dict[str, Any]:
        shown = [
            message
            for thread in threads_of(engine, given_address(contact))
            if account_sid in (None, thread.account_sid) and number in (None, thread.number)
            for message in thread.messages
        ]
        shown.sort(key=lambda message: message.seq)
        return {"messages": [feed.bubble(engine.state, message) for message in (shown[-limit:] if limit else shown)]}

    @router.post("/read")
    async def read(body: ThreadBody) -> dict[str, Any]:
        thread = engine.state.threads.get((body.account_sid, body.number, body.contact))
        return {"read": outbound.read_thread(engine, thread) if thread is not None else 0}

    @router.post("/window")
    async def window(body: WindowBody) -> dict[str, Any]:
        number_of(engine, body.account_sid, body.number)
        thread = records.thread_of(engine.state, body.account_sid, body.number, body.contact)
        thread.window_until = engine.now() + body.left_s
        feed.tell_thread(engine.feed, engine.state, thread, engine.now())
        return feed.summary(engine.state, thread, engine.now())


async def _delivered(engine: Engine, messages: list[Message], *, times: int, wait: bool) -> dict[str, Any]:
    """Post the webhooks of these messages, all at once, and answer how it went if that is to be waited for."""
    tasks = [inbound.deliver(engine, message, times=times) for message in messages]
    attempts = [attempt for each in await asyncio.gather(*tasks) for attempt in each] if wait else []
    return {
        "sid": messages[0].sid,
        "sids": [message.sid for message in messages],
        "attempts": [asdict(attempt) for attempt in attempts],
    }
