"""What a path or a body of the control API names, or 404."""

from __future__ import annotations

from fastapi import HTTPException

from recado.simulator.engine import Engine
from recado.simulator.state import Account, Media, Message, Number, Thread


def account_of(engine: Engine, account_sid: str) -> Account:
    """The account; 404 when there is none."""
    account = engine.state.accounts.get(account_sid)
    if account is None:
        raise HTTPException(404, f"no account {account_sid}")
    return account


def number_of(engine: Engine, account_sid: str, address: str) -> tuple[Account, Number]:
    """The account and its number; 404 when there is none."""
    account = account_of(engine, account_sid)
    number = engine.state.numbers.get((account_sid, address))
    if number is None:
        raise HTTPException(404, f"no number {address} in {account_sid}")
    return account, number


def message_of(engine: Engine, sid: str, direction: str) -> Message:
    """The message, if it goes that way; 404 when there is none."""
    message = engine.state.by_sid.get(sid)
    if message is None or message.direction != direction:
        raise HTTPException(404, f"no {direction} message {sid}")
    return message


def file_of(engine: Engine, sid: str) -> Media:
    """The file; 404 when there is none."""
    media = engine.state.media.get(sid)
    if media is None:
        raise HTTPException(404, f"no file {sid}")
    return media


def threads_of(engine: Engine, contact: str) -> list[Thread]:
    """All threads of this contact, whatever the account and number."""
    return [
        thread
        for account_sid in engine.state.accounts
        for thread in engine.state.contacts.get((account_sid, contact), [])
    ]
