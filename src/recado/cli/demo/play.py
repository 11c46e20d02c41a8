"""What happens on the stage: four conversations at once, and what goes wrong on purpose meanwhile."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from uuid import UUID

from recado.cli.demo.stage import NUMBER, OWNER, SPLIT_CHARS, Stage
from recado.db.pool import Connection
from recado.delivery.split import split
from recado.errors import RecadoError
from recado.simulator.handset import Phone
from recado.simulator.views import Bubble, Sent

#: What is given to a turn, its delivery and, in the worst case, the work of a dead worker.
PATIENCE_S = 60.0
#: How long the demo looks on after the last reply: a reply that came twice would come in this time.
AFTERWARDS_S = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person with a phone."""

    name: str
    address: str


ANA = Contact(name="Ana Souza", address="whatsapp:+5511987650001")
BRUNO = Contact(name="Bruno Lima", address="whatsapp:+5511987650002")
CARLA = Contact(name="Carla Dias", address="whatsapp:+5511987650003")
DAVI = Contact(name="Davi Rocha", address="whatsapp:+5511987650004")

QUESTION = "Bom dia! Vocês fazem entrega?"
BURST = ("Oi, tudo bem?", "Qual o horário de funcionamento?", "E quanto custa o pão francês?")
#: Spoken by a synthesizer; its words are in `tests/data/voice/notes.json`.
NOTE = "entrega.ogg"
SPOKEN = "Boa tarde! Quanto custa a entrega no centro?"
CATALOGUE = "Pode me mandar o catálogo de festas e as condições de encomenda?"

#: The titles in `padaria.md` of what is asked for.
DELIVERY = f"{OWNER} › Vocês fazem entrega?"
HOURS = f"{OWNER} › Qual o horário de funcionamento?"
BREAD = f"{OWNER} › Quanto custa o pão francês?"
PARTIES = f"{OWNER} › Catálogo de festas e condições de encomenda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that went wrong on purpose, or was put right, in a contact's conversation; `at` is since the epoch."""

    contact: Contact
    at: float
    text: str


@dataclass(slots=True, kw_only=True)
class Seen:
    """What contacts, Twilio and the database showed at the end."""

    threads: dict[Contact, list[Bubble]] = field(default_factory=dict)
    expected: dict[Contact, tuple[str, ...]] = field(default_factory=dict)
    duplicates: Sent | None = None
    refused: int = 0
    killed: str | None = None
    turns: dict[Contact, int] = field(default_factory=dict)
    statuses: dict[Contact, list[str]] = field(default_factory=dict)
    transcript: str | None = None
    incidents: list[Incident] = field(default_factory=list)


async def play(stage: Stage, tell: Callable[[str], None]) -> Seen:
    """Play it, wait until every reply is read or time is over, look on a little, and answer what was seen."""
    note = "a voice note" if stage.hears else "no voice note (Whisper's weights are not installed)"
    tell(f"conversations at once, {note}, a duplicate webhook, a 429 and a kill -9")
    seen = Seen()
    catalogue = split(stage.entries[PARTIES], SPLIT_CHARS)
    seen.expected = {
        ANA: (stage.entries[DELIVERY],),
        BRUNO: (stage.entries[HOURS] + "\n\n" + stage.entries[BREAD],),
        CARLA: catalogue,
    }
    if stage.hears:
        seen.expected[DAVI] = (stage.entries[DELIVERY],)
    await stage.phone.add_fault("too-many-requests", to=re.escape(ANA.address), count=1, retry_after_s=1)
    # Twilio takes the second part and says nothing: the moment in which a dead worker leaves the most open.
    await stage.phone.add_fault(
        "timeout-after", to=re.escape(CARLA.address), body="^" + re.escape(catalogue[1][:40]), count=1, hold_s=20
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(_question(stage, seen))
        group.create_task(_burst(stage))
        group.create_task(_catalogue(stage, seen))
        if stage.hears:
            group.create_task(_note(stage))
        for contact, parts in seen.expected.items():
            group.create_task(_until_read(stage, contact, len(parts)))
    tell("looking whether anything comes twice")
    await asyncio.sleep(AFTERWARDS_S)
    await _observe(stage, seen)
    return seen


async def _say(stage: Stage, contact: Contact, body: str) -> Sent:
    return await stage.phone.send(
        body, account_sid=stage.account_sid, from_=contact.address, to=NUMBER, profile_name=contact.name
    )


async def _question(stage: Stage, seen: Seen) -> None:
    """A question; its webhook comes twice more, and Twilio refuses the answer once."""
    sent = await _say(stage, ANA, QUESTION)
    seen.duplicates = await stage.phone.resend(sent.sid, times=2)
    seen.incidents.append(Incident(contact=ANA, at=time.time(), text="the same webhook twice more"))


async def _burst(stage: Stage) -> None:
    """Three messages in a row, as people write."""
    for body in BURST:
        await _say(stage, BRUNO, body)
        await asyncio.sleep(0.35)


async def _catalogue(stage: Stage, seen: Seen) -> None:
    """A question with a long answer; the worker that sends it dies in the middle."""
    await _say(stage, CARLA, CATALOGUE)
    phone = stage.phone
    await phone.wait_for(lambda: _took_two(stage), PATIENCE_S, what="the second part of the long answer")
    executor, pid = await _who_delivers_to(stage, CARLA)
    seen.killed = await stage.processes.kill(pid)
    at = time.time()
    seen.incidents.append(
        Incident(contact=CARLA, at=at, text=f"kill -9 of {seen.killed}: it had posted part 2 and not heard the answer")
    )

    async def taken_over() -> bool:
        return not await _is_known(stage, executor)

    await phone.wait_for(taken_over, PATIENCE_S, every_s=0.1, what="another worker to take over")
    took_s = time.time() - at
    looked = any(call.operation == "list" for call in await phone.calls())
    witness = "its list of messages" if looked else "a status callback"
    text = f"taken over after {took_s:.1f} s; Twilio had part 2, as {witness} told: not posted again"
    seen.incidents.append(Incident(contact=CARLA, at=at + took_s, text=text))


async def _note(stage: Stage) -> None:
    """A voice note: fetched as Twilio gives it out, and heard by Whisper on this machine."""
    phone = Phone(
        client=stage.phone, account_sid=stage.account_sid, number=NUMBER, address=DAVI.address, name=DAVI.name
    )
    with as_file(files(__package__) / NOTE) as path:
        await phone.voice(path)


async def _took_two(stage: Stage) -> bool:
    return len(await stage.phone.replies(CARLA.address)) >= 2


async def _until_read(stage: Stage, contact: Contact, parts: int) -> None:
    """Wait for the replies; what does not come is for `check` to say."""
    try:
        await stage.phone.wait_for_replies(contact.address, parts, PATIENCE_S, status="read")
    except TimeoutError:
        stage.processes.check()


async def _who_delivers_to(stage: Stage, contact: Contact) -> tuple[str, int]:
    """Executor and process that have this contact's delivery in work."""
    async with await stage.wiring.connect("recado_platform") as platform:
        cursor = await platform.execute(
            """
            SELECT e.id, e.pid FROM dbos.workflow_status w
            JOIN executors e ON e.id = w.executor_id
            JOIN conversations v ON lane(v.owner_id::text, v.id::text) = w.queue_partition_key
            JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
            WHERE w.name = 'send_whatsapp_message' AND w.status = 'PENDING' AND c.address = %s
            """,
            [contact.address],
        )
        row = await cursor.fetchone()
    if row is None:
        raise RecadoError("no worker has the long answer in work")
    return row["id"], row["pid"]


async def _is_known(stage: Stage, executor: str) -> bool:
    async with await stage.wiring.connect("recado_platform") as platform:
        cursor = await platform.execute("SELECT FROM executors WHERE id = %s", [executor])
        return await cursor.fetchone() is not None


async def _observe(stage: Stage, seen: Seen) -> None:
    """Look at the phones, at Twilio's log and at our own rows."""
    seen.threads = {contact: await stage.phone.thread(contact.address) for contact in seen.expected}
    for call in await stage.phone.calls():
        if call.operation == "create" and call.status == 429:
            seen.refused += 1
            seen.incidents.append(Incident(contact=ANA, at=call.at, text="Twilio: 429, too many requests; not taken"))
    async with await stage.wiring.connect("recado_platform") as platform:
        for contact in seen.expected:
            seen.statuses[contact], seen.turns[contact] = await _rows(platform, stage.owner_id, contact)
        cursor = await platform.execute(
            "SELECT transcript FROM messages WHERE owner_id = %s AND kind = 'audio'", [stage.owner_id]
        )
        for row in await cursor.fetchall():
            seen.transcript = row["transcript"]


async def _rows(platform: Connection, owner_id: UUID, contact: Contact) -> tuple[list[str], int]:
    """The status of each reply to the contact in our own rows, and how many turns made them."""
    cursor = await platform.execute(
        """
        SELECT m.status, m.turn_id FROM messages m
        JOIN conversations v ON v.owner_id = m.owner_id AND v.id = m.conversation_id
        JOIN contacts c ON c.owner_id = v.owner_id AND c.id = v.contact_id
        WHERE m.owner_id = %s AND c.address = %s AND m.direction = 'outbound' ORDER BY m.id
        """,
        [owner_id, contact.address],
    )
    rows = await cursor.fetchall()
    return [row["status"] for row in rows], len({row["turn_id"] for row in rows})
