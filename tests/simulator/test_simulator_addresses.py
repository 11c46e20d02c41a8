"""A contact is one person in the local Twilio, in whatever form their WhatsApp address is given."""

from __future__ import annotations

from simulator_stage import ACCOUNT, CONTACT, NUMBER, Receiver

from recado.simulator.client import SimulatorClient

FORMS = (
    CONTACT,
    CONTACT.replace("+", ""),
    CONTACT.replace("whatsapp:+", "WhatsApp: "),
    f" {CONTACT[:12]} {CONTACT[12:]}",
)


async def test_whatever_form_the_address_has_it_is_one_thread_and_the_webhook_says_the_canonical_one(
    sim: SimulatorClient, receiver: Receiver
) -> None:
    for form in FORMS:
        sent = await sim.send("Oi", account_sid=ACCOUNT, from_=form, to=NUMBER.replace("+", ""))
        assert sent.statuses == [200]
    assert {hit.params["From"] for hit in receiver.hits} == {CONTACT}
    assert {hit.params["To"] for hit in receiver.hits} == {NUMBER}
    threads = (await sim.call("GET", "/threads"))["threads"]
    assert [thread["contact"] for thread in threads] == [CONTACT]
    for form in FORMS:
        assert len(await sim.thread(form)) == len(FORMS)
        await sim.window(form, 60, account_sid=ACCOUNT, number=NUMBER)
    assert len((await sim.call("GET", "/threads"))["threads"]) == 1
    body = {"account_sid": ACCOUNT, "number": NUMBER, "contact": FORMS[1], "name": "Ana"}
    assert (await sim.call("POST", "/contacts", body))["contact"] == CONTACT
