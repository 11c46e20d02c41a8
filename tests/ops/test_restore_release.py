"""Twilio's list is taken into a restored database: what it lost is there again, and nobody is answered twice."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from recado.conversations import erased, messages
from recado.db.scope import scoped
from recado.ids import new_id
from recado.ops.backup import quarantine, release
from recado.ops.backup.quarantine import Silence
from recado.simulator.client import SimulatorClient
from recado.wiring import Wiring
from tests.conftest import SECRET_KEYS
from tests.lending import Databases
from tests.product import Company, Contact, Product


@pytest.fixture(scope="module")
def reception(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """API and simulated Twilio without a worker: nothing of what is enqueued happens."""
    home: Path = tmp_path_factory.mktemp("reception")
    with databases.one() as url, Product(url, home, {"secret_keys": SECRET_KEYS}, work=False) as running:
        yield running


@pytest.fixture
def lost(reception: Product) -> Lost:
    return Lost(reception)


class Lost:
    """A company whose database was restored: Twilio goes on, and no webhook of it arrives."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.company: Company = product.company()
        self.contact: Contact = self.company.contact()
        self.restored_at = datetime.now(UTC)

    @property
    def wiring(self) -> Wiring:
        assert self.product.wiring is not None
        return self.product.wiring

    def restore(self, company: Company | None = None, *, ago: timedelta = timedelta(hours=1)) -> None:
        """From here on the company's account is silent, and its webhooks go nowhere."""
        company = company or self.company

        async def cut() -> None:
            async with SimulatorClient(self.product.simulator_url) as client:
                await client.add_number(company.account_sid, company.number, None)

        self.product.call(cut)
        self.product.execute(
            "INSERT INTO quarantine (owner_id, account_id, restored_at, since) "
            "SELECT owner_id, id, clock_timestamp(), %s FROM twilio_accounts WHERE account_sid = %s",
            datetime.now(UTC) - ago,
            company.account_sid,
        )

    def waits(self, body: str, contact: Contact | None = None) -> UUID:
        """Something that was to be sent to the contact when the set was made; they must have written before."""
        [conversation] = {row["conversation_id"] for row in (contact or self.contact).messages()}

        async def enqueue() -> UUID:
            async with scoped(self.wiring.pool, self.company.owner_id) as scope:
                return await messages.enqueue_outbound(
                    scope,
                    conversation_id=conversation,
                    author="assistant",
                    body=body,
                    correlation_id=UUID(int=1),
                    now=self.wiring.clock.now(),
                )

        return self.product.call(enqueue)

    def sends(self, body: str, contact: Contact | None = None) -> str:
        """What the lost database had sent: Twilio has it; answers its MessageSid."""
        to = (contact or self.contact).address

        async def send() -> str:
            async with tools(self.wiring) as found:
                [account] = self.product.rows(
                    "SELECT id FROM twilio_accounts WHERE account_sid = %s", self.company.account_sid
                )
                sender = await found.desk.sender_of(self.company.owner_id, account["id"])
                sent = await sender.send(to=to, from_=self.company.number, body=body, status_callback=None)
                return sent.sid

        return self.product.call(send)

    def release(self, *companies: Company) -> list[Silence]:
        """What became of these companies' accounts, in their order."""
        sids = [company.account_sid for company in companies or (self.company,)]

        async def run() -> list[Silence]:
            async with tools(self.wiring) as found:
                every = await quarantine.accounts(found.platform)
                await release.release(found, [one for one in every if one.account_sid in sids and not one.released_at])
                every = await quarantine.accounts(found.platform)
                return [next(one for one in every if one.account_sid == sid) for sid in sids]

        return self.product.call(run)

    def work(self, message_id: object) -> list[str]:
        """The queues that have work for the message."""
        found = self.product.rows(
            "SELECT queue_name FROM dbos.workflow_status WHERE starts_with(workflow_uuid, %s)", str(message_id)
        )
        return [row["queue_name"] for row in found]


def tools(wiring: Wiring) -> Any:
    class Opened:
        async def __aenter__(self) -> release.Tools:
            self.platform = await wiring.connect("recado_platform")
            self.opening = release.opened(
                wiring.settings,
                wiring.keyring,
                wiring.clock,
                url=wiring.database.url,
                platform=self.platform,
                storage=wiring.storage,
            )
            return await self.opening.__aenter__()

        async def __aexit__(self, *error: Any) -> None:
            await self.opening.__aexit__(*error)
            await self.platform.close()

    return Opened()


def test_what_contacts_wrote_since_is_taken_in_in_order_and_waits_for_its_turn(lost: Lost) -> None:
    lost.contact.says("before")
    lost.restore()
    said = [lost.contact.says(f"lost {number}") for number in range(3)]
    [silence] = lost.release()
    assert (silence.error, silence.released_by, silence.counts) == (None, "asked", {"received": 3, "waits": 3})
    rows = lost.contact.messages()
    assert [row["body"] for row in rows] == ["before", "lost 0", "lost 1", "lost 2"]
    assert [row["provider_sid"] for row in rows[1:]] == [one.sid for one in said]
    assert {row["status"] for row in rows} == {"received"}
    assert all(row["parameters"]["RecadoTakenFrom"] == ["list"] for row in rows[1:])
    assert lost.work(rows[-1]["id"]) == ["turns"]
    lost.restore()
    assert lost.release()[0].counts == {}, "taken in once"


def test_what_went_out_since_and_waits_here_is_sent_already_and_what_did_not_still_waits(lost: Lost) -> None:
    lost.contact.says("oi")
    went, stays = lost.waits("Bom dia!"), lost.waits("Até logo!")
    lost.restore()
    sid = lost.sends("Bom dia!")
    assert lost.release()[0].counts["sent"] == 1
    found = {row["id"]: row for row in lost.contact.messages()}
    assert found[went]["status"] in ("queued", "sent", "delivered")
    [part] = lost.product.rows("SELECT provider_sid, status FROM message_parts WHERE message_id = %s", went)
    assert part["provider_sid"] == sid
    assert part["status"] != "waiting"
    [part] = lost.product.rows("SELECT provider_sid, status FROM message_parts WHERE message_id = %s", stays)
    assert part == {"provider_sid": None, "status": "waiting"}


def test_each_of_several_parts_is_known_by_its_words(lost: Lost) -> None:
    lost.contact.says("oi")
    words = [f"{'palavra ' * 150}{number}." for number in range(3)]
    message = lost.waits("\n\n".join(words))
    lost.restore()
    planned = "SELECT part, body, provider_sid FROM message_parts WHERE message_id = %s ORDER BY part"
    assert lost.product.rows(planned, message) == [], "no worker had come to it when the set was made"
    lost.sends(words[0])
    lost.sends(words[1])
    lost.release()
    assert [row["provider_sid"] is None for row in lost.product.rows(planned, message)] == [False, False, True]


def test_what_was_answered_since_is_not_answered_again_and_the_answer_is_there(lost: Lost) -> None:
    lost.contact.says("known")
    lost.restore()
    sid = lost.sends("Sim.")
    later, other = lost.contact, lost.company.contact()
    other.says("lost")
    lost.sends("Claro.", other)
    later.says("and this?")
    counts = lost.release()[0].counts
    assert (counts["received"], counts["answers"], counts["answered"], counts["waits"]) == (2, 2, 2, 1)
    known, answer, last = later.messages()
    assert (known["status"], answer["body"], answer["author"], answer["reason"]) == (
        "answered",
        "Sim.",
        "assistant",
        "restored",
    )
    assert last["status"] == "received", "it was written after the answer"
    assert [
        row["provider_sid"]
        for row in lost.product.rows("SELECT provider_sid FROM message_parts WHERE message_id = %s", answer["id"])
    ] == [sid]
    assert other.messages()[0]["status"] == "answered"
    lost.restore()
    assert lost.release()[0].counts.keys() <= {"statuses"}, "the same again changes nothing"
    assert [row["status"] for row in later.messages()][::2] == ["answered", "received"]


def test_what_came_while_an_answer_was_on_its_way_is_for_people(lost: Lost) -> None:
    lost.contact.says("first")
    lost.contact.says("second")
    lost.restore()
    lost.sends("Sim.")
    counts = lost.release()[0].counts
    assert (counts["answered"], counts["unsure"]) == (1, 1)
    rows = lost.contact.messages()
    assert [(row["status"], row["held_for"]) for row in rows[:2]] == [("answered", None), ("held", "restored")]
    [conversation] = lost.product.rows("SELECT attention FROM conversations WHERE id = %s", rows[0]["conversation_id"])
    assert conversation["attention"] == "restored"


def test_a_contact_who_said_stop_meanwhile_is_opted_out(lost: Lost) -> None:
    lost.restore()
    lost.contact.says("STOP")
    lost.release()
    [found] = lost.product.rows(
        "SELECT reason FROM suppressions WHERE owner_id = %s AND identity_key = %s",
        lost.company.owner_id,
        lost.contact.address,
    )
    assert found["reason"] == "word"


def test_what_came_with_a_message_is_fetched_and_of_an_answered_one_too(lost: Lost, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(bytes.fromhex("89504e470d0a1a0a") + b"\0" * 32)
    lost.restore()
    lost.contact.does(lambda phone: phone.picture(picture))
    other = lost.company.contact()
    other.does(lambda phone: phone.picture(picture))
    lost.sends("Bonito!", other)
    lost.release()
    [waiting], [answered, _] = lost.contact.messages(), other.messages()
    assert (waiting["status"], waiting["awaits_media"], lost.work(waiting["id"])) == ("received", True, ["media"])
    assert (answered["status"], answered["awaits_media"], lost.work(answered["id"])) == ("answered", False, ["media"])
    media = lost.product.rows("SELECT url, announced_type FROM media WHERE message_id = %s", waiting["id"])
    assert media == [{"url": waiting["parameters"]["MediaUrl0"][0], "announced_type": "image/png"}]


def test_a_place_which_the_list_does_not_tell_is_for_people(lost: Lost) -> None:
    lost.restore()
    lost.contact.does(lambda phone: phone.place(-23.5, -46.6))
    lost.release()
    [row] = lost.contact.messages()
    assert (row["status"], row["held_for"]) == ("held", "restored")


def test_an_account_whose_token_is_refused_stays_silent_and_holds_nobody_else(lost: Lost) -> None:
    revoked = lost.product.company()
    lost.restore()
    lost.restore(revoked)

    async def revoke() -> None:
        async with SimulatorClient(lost.product.simulator_url) as client:
            await client.add_account(revoked.account_sid, secrets.token_hex(16))

    lost.product.call(revoke)
    lost.contact.says("oi")
    good, bad = lost.release(lost.company, revoked)
    assert (good.released_by, good.counts) == ("asked", {"received": 1, "waits": 1})
    assert bad.released_at is None
    assert "20003" in (bad.error or "")


def test_a_release_that_dies_in_the_middle_answers_nothing_by_half_and_goes_on(
    lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost.restore()
    lost.contact.says("lost")
    lost.sends("Sim.")

    async def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(release, "_settle_contact", dies)
        with pytest.raises(RuntimeError):
            lost.release()
    [row] = lost.contact.messages()
    assert (row["status"], row["held_for"]) == ("held", "restored"), "no turn takes it before its answer is known"
    assert lost.release()[0].released_by == "asked"
    assert lost.contact.messages()[0]["status"] == "answered"


def test_what_other_systems_send_and_get_by_the_account_is_none_of_ours(lost: Lost) -> None:
    lost.contact.says("oi")
    lost.restore(ago=timedelta(minutes=5))  # of which the first 13 are before the moment
    lost.sends("Somebody else's program wrote this before the moment that the database is of.")
    assert lost.release()[0].counts == {}
    assert [row["status"] for row in lost.contact.messages()] == ["received"]


def test_nobody_who_was_erased_comes_back_by_the_list_and_what_they_wrote_since_does(
    lost: Lost, tmp_path: Path
) -> None:
    lost.restore()
    lost.contact.says("before the erasure")

    async def erase() -> None:
        async with scoped(lost.wiring.pool, lost.company.owner_id) as scope:
            key = await erased.ensure_key(scope, lost.wiring.keyring)
        entry = {
            "form": 1,
            "owner_id": str(lost.company.owner_id),
            "erasure_id": str(new_id()),
            "at": datetime.now(UTC).isoformat(),
            "key": "",
            "hashes": [erased.digest(key, lost.contact.address).hex()],
            "suppressed_why": None,
        }
        path = tmp_path / "entry"
        path.write_text(json.dumps(entry))
        await lost.wiring.storage.put(f"{UUID(int=0)}/{entry['erasure_id']}", path, content_type="application/json")

    lost.product.call(erase)
    time.sleep(1.1)  # Twilio's list tells seconds
    lost.contact.says("after it")
    assert lost.release()[0].counts == {"received": 1, "waits": 1}
    assert [row["body"] for row in lost.contact.messages()] == ["after it"]
