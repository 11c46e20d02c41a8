"""What the local Twilio knows: accounts, numbers, threads, messages, files. Pure: no clock, no network, no tasks.

Messages change in place (they are held by the hundred thousand and move through their statuses), everything that
a caller hands in is frozen. Times are seconds since the epoch.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from recado.simulator.contents import Content, Face

Status = Literal[
    "accepted", "scheduled", "queued", "sent", "delivered", "read", "failed", "undelivered", "canceled", "received"
]
Direction = Literal["inbound", "outbound-api"]

FINAL: frozenset[str] = frozenset({"delivered", "read", "failed", "undelivered", "canceled", "received"})
"""Statuses in which Twilio lets a message be deleted; before them it answers 20009."""


MAX_FILE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A sender of an account and where Twilio posts what contacts write to it; `status` as the Senders API says it."""

    address: str
    webhook_url: str | None = None
    status_callback_url: str | None = None
    messaging_service_sid: str | None = None
    status: str = "ONLINE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A Twilio account; the first of `auth_tokens` is the primary one, which signs webhooks."""

    sid: str
    auth_tokens: tuple[str, ...]
    api_keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST to a webhook: `status` is None when there was no answer, and `error` says why (`ct`, `rt`)."""

    status: int | None
    error: str | None
    ms: float


@dataclass(slots=True, kw_only=True, eq=False)
class Media:
    """A file that Twilio holds; `content_type` is what Twilio says it is, which need not be true."""

    sid: str
    account_sid: str
    content_type: str
    data: bytes = field(repr=False)
    created_at: float
    file_name: str = ""
    message_sid: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Message:
    """One message, as Twilio records it and as the contact sees it.

    `body` is Twilio's record, which can be redacted; `shown` stays on the contact's phone.
    """

    seq: int
    sid: str
    account_sid: str
    direction: Direction
    number: str
    contact: str
    body: str
    shown: str
    status: Status
    created_at: float
    updated_at: float
    sent_at: float | None = None
    delivered_at: float | None = None
    read_at: float | None = None
    error_code: int | None = None
    error_message: str | None = None
    messaging_service_sid: str | None = None
    status_callback: str | None = None
    kind: str = "text"
    media: tuple[str, ...] = ()
    """Sids of the files that Twilio holds for it."""
    media_urls: tuple[str, ...] = ()
    """Where the files are: at Twilio for what a contact sent, at the business for what it sends."""
    face: Face | None = None
    content_sid: str | None = None
    fate: Status | None = None
    fate_code: int | None = None
    params: dict[str, str] | None = None
    idempotency_token: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    deleted: bool = False

    @property
    def from_(self) -> str:
        return self.contact if self.direction == "inbound" else self.number

    @property
    def to(self) -> str:
        return self.number if self.direction == "inbound" else self.contact


@dataclass(slots=True, kw_only=True, eq=False)
class Thread:
    """What one contact and one number have said to each other, in the order Twilio took it."""

    account_sid: str
    number: str
    contact: str
    name: str = ""
    typing_until: float = 0.0
    window_until: float = 0.0
    """Until when the business may write what it likes; each message of the contact gives 24 hours."""
    unread: int = 0
    messages: list[Message] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class State:
    """All of it, indexed so that what is asked often is found without a scan."""

    accounts: dict[str, Account] = field(default_factory=dict)
    numbers: dict[tuple[str, str], Number] = field(default_factory=dict)
    threads: dict[tuple[str, str, str], Thread] = field(default_factory=dict)
    contacts: dict[tuple[str, str], list[Thread]] = field(default_factory=dict)
    by_sid: dict[str, Message] = field(default_factory=dict)
    by_account: dict[str, list[Message]] = field(default_factory=dict)
    media: dict[str, Media] = field(default_factory=dict)
    file_bytes: int = 0
    contents: dict[str, Content] = field(default_factory=dict)
    next_seq: int = 1


def new_sid(prefix: str) -> str:
    """A SID of Twilio's shape: two letters and 32 hexadecimal digits."""
    return prefix + secrets.token_hex(16)


def put_account(state: State, account: Account) -> None:
    """Add the account, or give it other tokens."""
    state.accounts[account.sid] = account


def put_number(state: State, account_sid: str, number: Number) -> None:
    """Add the number to its account, or give it other webhooks.

    Raises:
        KeyError: there is no such account.

    """
    state.accounts[account_sid]
    state.numbers[account_sid, number.address] = number


def thread_of(state: State, account_sid: str, number: str, contact: str) -> Thread:
    """The thread of these two; a new one when they have not spoken before."""
    key = (account_sid, number, contact)
    thread = state.threads.get(key)
    if thread is None:
        thread = state.threads[key] = Thread(account_sid=account_sid, number=number, contact=contact)
        state.contacts.setdefault((account_sid, contact), []).append(thread)
    return thread


def add(state: State, message: Message) -> None:
    """Enter a message into the records and into its thread.

    Raises:
        ValueError: its sid is taken.

    """
    if message.sid in state.by_sid:
        raise ValueError(f"{message.sid} exists")
    state.by_sid[message.sid] = message
    state.by_account.setdefault(message.account_sid, []).append(message)
    thread_of(state, message.account_sid, message.number, message.contact).messages.append(message)


def add_file(state: State, media: Media) -> None:
    """Keep a file; the oldest go when all together are over MAX_FILE_BYTES."""
    state.media[media.sid] = media
    state.file_bytes += len(media.data)
    while state.file_bytes > MAX_FILE_BYTES:
        remove_file(state, next(iter(state.media)))


def remove_file(state: State, sid: str) -> None:
    """Delete a file."""
    state.file_bytes -= len(state.media.pop(sid).data)


def take_seq(state: State) -> int:
    """The next place in the order in which Twilio took messages."""
    seq = state.next_seq
    state.next_seq += 1
    return seq


def remove(state: State, message: Message) -> None:
    """Delete Twilio's record with all that it says; the contact's phone keeps what it shows, and its files stay."""
    message.deleted = True
    message.body = ""
    message.params = None
    message.idempotency_token = message.status_callback = None
    del state.by_sid[message.sid]
    kept = state.by_account[message.account_sid]
    place = bisect_left(kept, message.seq, key=lambda one: one.seq)
    if place < len(kept) and kept[place] is message:
        del kept[place]


def forget(state: State) -> None:
    """Drop messages, threads and files; accounts, numbers and contents stay."""
    state.media.clear()
    state.file_bytes = 0
    state.threads.clear()
    state.contacts.clear()
    state.by_sid.clear()
    state.by_account.clear()


def newest_first(
    state: State, account_sid: str, *, to: str | None, from_: str | None, before_seq: int | None = None
) -> Iterator[Message]:
    """An account's messages, newest first, of this sender and recipient where given, older than `before_seq`."""
    for message in _backwards(_candidates(state, account_sid, to, from_), before_seq):
        if message.deleted or (to is not None and message.to != to) or (from_ is not None and message.from_ != from_):
            continue
        yield message


def _candidates(state: State, account_sid: str, to: str | None, from_: str | None) -> list[Message]:
    """A list in order of `seq` that holds every match, as short as the indexes allow."""
    if to is not None and from_ is not None:
        pair = state.threads.get((account_sid, from_, to)), state.threads.get((account_sid, to, from_))
        return _merged([thread for thread in pair if thread])
    for address in (to, from_):
        if address is not None and (account_sid, address) not in state.numbers:
            return _merged(state.contacts.get((account_sid, address), []))
    return state.by_account.get(account_sid, [])


def _merged(threads: list[Thread]) -> list[Message]:
    if len(threads) == 1:
        return threads[0].messages
    return sorted(chain.from_iterable(thread.messages for thread in threads), key=lambda message: message.seq)


def _backwards(messages: list[Message], before_seq: int | None) -> Iterator[Message]:
    end = len(messages)
    if before_seq is not None:
        end = bisect_left(messages, before_seq, key=lambda message: message.seq)
    return (messages[index] for index in range(end - 1, -1, -1))
