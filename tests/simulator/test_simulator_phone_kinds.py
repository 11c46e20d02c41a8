"""The phone sends and shows every kind, as a person sees and does it."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib

import pytest
from aiohttp import web
from playwright.async_api import Page, expect
from simulator_browser import add_contact, browser_test
from simulator_specs import raw
from simulator_stage import ACCOUNT, CONTACT, NUMBER, Receiver
from twilio.rest import Client

from recado.simulator import vcards
from recado.simulator.client import SimulatorClient
from recado.simulator.handset import Phone

pytestmark = browser_test


def png() -> bytes:
    """A picture of one teal pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0\x0f\x76\x6e"))
        + chunk(b"IEND", b"")
    )


PNG = png()
EVIL = '<img src=x onerror="document.title=1">'


async def attach(page: Page, name: str) -> None:
    await page.get_by_role("button", name="Attach").click()
    await page.get_by_role("button", name=name, exact=True).click()


async def chosen(page: Page, name: str, *files: dict[str, object]) -> None:
    async with page.expect_file_chooser() as choosing:
        await attach(page, name)
    await (await choosing.value).set_files(list(files))  # type: ignore[arg-type]


def file(name: str, content_type: str, data: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": content_type, "buffer": data}


async def test_pictures_go_out_with_words_as_an_album(
    page: Page, sim: SimulatorClient, receiver: Receiver, complaints: list[str]
) -> None:
    await add_contact(page)
    await page.get_by_label("Write as this contact").fill("olha só")
    await chosen(page, "Photos or video", file("a.png", "image/png", PNG), file("b.png", "image/png", PNG))
    pictures = page.locator(".bubble.mine .picture img")
    await expect(pictures).to_have_count(2)
    await expect(page.locator(".bubble.mine p")).to_have_text(["olha só"])
    await expect(page.locator("#composer-text")).to_have_value("")
    await expect(page.locator(".bubble.mine .ticks").last).to_have_attribute("data-ticks", "delivered")
    assert await pictures.first.evaluate("image => image.complete && image.naturalWidth") == 1
    await receiver.until(lambda: len(receiver.hits) == 2)
    assert {hit.params["MessageType"] for hit in receiver.hits} == {"image"}
    assert sorted(hit.params["Body"] for hit in receiver.hits) == ["", "olha só"]
    assert complaints == []


async def test_a_voice_note_is_recorded_shown_and_sent_as_whatsapp_sends_it(
    page: Page, sim: SimulatorClient, receiver: Receiver, complaints: list[str]
) -> None:
    await add_contact(page)
    await page.get_by_role("button", name="Record a voice note").click()
    await expect(page.get_by_text("Recording", exact=True)).to_be_visible()
    await expect(page.locator("#recording-time")).to_have_text("0:01")
    await page.get_by_role("button", name="Send voice note").click()
    await expect(page.locator(".bubble.mine audio")).to_be_visible()
    await receiver.until(lambda: len(receiver.hits) == 1)
    (hit,) = receiver.hits
    assert (hit.params["MessageType"], hit.params["MediaContentType0"], hit.params["Body"]) == (
        "audio",
        "audio/ogg",
        "",
    )
    (bubble,) = await sim.thread(CONTACT)
    data = await sim.file(bubble.files[0].sid)
    assert data.startswith(b"OggS")
    assert b"OpusHead" in data[:100]
    sound = page.locator(".bubble.mine audio")
    await expect(sound).to_have_js_property("error", None)
    await page.wait_for_function("document.querySelector('.bubble.mine audio').duration > 0.9")
    assert complaints == []


async def test_a_recording_can_be_discarded(page: Page, receiver: Receiver) -> None:
    await add_contact(page)
    await page.get_by_role("button", name="Record a voice note").click()
    await page.get_by_role("button", name="Discard").click()
    await expect(page.get_by_label("Write as this contact")).to_be_visible()
    await expect(page.get_by_role("button", name="Record a voice note")).to_be_focused()
    assert receiver.hits == []


async def test_a_document_a_place_and_a_card_are_sent(page: Page, receiver: Receiver, complaints: list[str]) -> None:
    await add_contact(page)
    await chosen(page, "Document", file("conta de luz.pdf", "application/pdf", b"%PDF-1.7"))
    await expect(page.locator(".bubble.mine a.file b")).to_have_text("conta de luz.pdf")
    await attach(page, "Place")
    await page.locator("#place-dialog").get_by_label("Name").fill("MASP")
    await page.get_by_role("button", name="Send place").click()
    await expect(page.locator(".bubble.mine .place b")).to_have_text("MASP")
    await attach(page, "Contact card")
    await page.get_by_label("Full name").fill("Dona Ana; Filha, Neta")
    await page.get_by_label("Number").fill("+5511912345678")
    await page.get_by_role("button", name="Send card").click()
    await expect(page.locator(".bubble.mine .person b")).to_have_text("Dona Ana; Filha, Neta")
    await expect(page.locator(".bubble.mine .person small")).to_have_text("+5511912345678")
    await receiver.until(lambda: len(receiver.hits) == 3)
    kinds = [hit.params["MessageType"] for hit in receiver.hits]
    assert kinds == ["document", "location", "contacts"]
    assert receiver.hits[0].params["Body"] == "conta de luz.pdf"
    assert receiver.hits[1].params["Latitude"] == "-23.5614"
    assert complaints == []


@pytest.mark.parametrize(
    ("kind", "params", "shown"),
    [
        ("Words forwarded many times", {"FrequentlyForwarded": "true", "Body": "Olá!"}, "Forwarded many times"),
        ("First words after an advertisement", {"ReferralSourceType": "ad"}, "From an advertisement: Advertisement"),
        ("Calls are not allowed", {"ButtonPayload": "REJECTED"}, None),
        ("A kind that Twilio can't carry", {"MessageType": "unsupported", "Body": ""}, None),
    ],
)
async def test_other_kinds_are_sent(
    page: Page, receiver: Receiver, kind: str, params: dict[str, str], shown: str | None
) -> None:
    await add_contact(page)
    await attach(page, "Other kinds")
    await page.get_by_role("combobox", name="Kind").select_option(kind)
    await page.get_by_role("button", name="Send kind").click()
    await expect(page.locator(".bubble.mine")).to_have_count(1)
    if shown:
        await expect(page.locator(".bubble.mine .mark")).to_have_text(shown)
    await receiver.until(lambda: len(receiver.hits) == 1)
    assert params.items() <= receiver.hits[0].params.items()


async def test_a_message_is_quoted(page: Page, receiver: Receiver, twilio: Client) -> None:
    await add_contact(page)
    sent = await asyncio.to_thread(twilio.messages.create, to=CONTACT, from_=NUMBER, body="Qual dos dois?")
    theirs = page.locator(".bubble.theirs")
    await theirs.hover()
    await theirs.get_by_role("button", name="Answer this message").click()
    await expect(page.locator("#quoting-text")).to_have_text("Qual dos dois?")
    await page.keyboard.type("O primeiro")
    await page.keyboard.press("Enter")
    await expect(page.locator(".bubble.mine .quote span")).to_have_text("Qual dos dois?")
    await expect(page.locator("#quoting")).to_be_hidden()
    await receiver.until(lambda: len(receiver.hits) == 1)
    assert receiver.hits[0].params["OriginalRepliedMessageSid"] == sent.sid


async def rich(sim: SimulatorClient, twilio: Client, types: dict[str, object]) -> None:
    body = {"language": "pt_BR", "types": types}
    status, made = await raw(sim.base_url, "POST", "/v1/Content", json_body=body)
    assert status == 201
    form = {"to": CONTACT, "from_": NUMBER, "content_sid": made["sid"], "content_variables": json.dumps({})}
    await asyncio.to_thread(twilio.messages.create, **form)


async def test_a_button_is_tapped_and_an_item_is_chosen_with_the_keyboard_alone(
    page: Page, sim: SimulatorClient, twilio: Client, receiver: Receiver, complaints: list[str]
) -> None:
    await add_contact(page)
    actions = [{"title": "Sim", "id": "yes"}, {"title": EVIL[:20], "id": "no"}]
    await rich(sim, twilio, {"twilio/quick-reply": {"body": "Confirma?", "actions": actions}})
    button = page.get_by_role("button", name="Sim", exact=True)
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".bubble.mine p")).to_have_text("Sim")
    await receiver.until(lambda: len(receiver.hits) == 1)
    assert receiver.hits[0].params["ButtonPayload"] == "yes"
    items = [{"id": "1", "item": "Segunda via", "description": "Receber o boleto"}, {"id": "2", "item": "Pessoa"}]
    await rich(sim, twilio, {"twilio/list-picker": {"body": "O quê?", "button": "Ver opções", "items": items}})
    await page.get_by_role("button", name="Ver opções").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Ver opções")).to_be_visible()
    await page.get_by_role("button", name="Segunda via Receber o boleto").focus()
    await page.keyboard.press("Enter")
    await receiver.until(lambda: len(receiver.hits) == 2)
    assert receiver.hits[1].params["ListId"] == "1"
    await expect(page.locator(".bubble.mine p").last).to_have_text("Segunda via")
    assert complaints == []


async def test_what_the_business_sends_is_shown(
    page: Page, sim: SimulatorClient, twilio: Client, complaints: list[str]
) -> None:
    async def give(_: web.Request) -> web.Response:
        return web.Response(body=PNG, content_type="image/png")

    app = web.Application()
    app.router.add_get("/x", give)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/x"
    await add_contact(page)
    await asyncio.to_thread(twilio.messages.create, to=CONTACT, from_=NUMBER, body="o cardápio", media_url=[url])
    await expect(page.locator(".bubble.theirs .picture img")).to_have_attribute("alt", "o cardápio")
    await rich(sim, twilio, {"twilio/location": {"latitude": -23.5, "longitude": -46.6, "label": "Loja"}})
    await expect(page.locator(".bubble.theirs .place b")).to_have_text("Loja")
    await runner.cleanup()
    assert complaints == []


async def test_the_window_is_shown_and_closed_from_the_switchboard(page: Page, sim: SimulatorClient) -> None:
    await add_contact(page)
    await expect(page.locator("#window")).to_have_text("window closed")
    await page.get_by_label("Write as this contact").fill("oi")
    await page.keyboard.press("Enter")
    await expect(page.locator("#window")).to_have_text("24 h left")
    await page.get_by_role("button", name="Switchboard").first.click()
    await page.get_by_role("button", name="Close it").click()
    await expect(page.locator("#window")).to_have_text("window closed")
    assert (await sim.threads())[0]["window_s"] == 0


async def test_files_and_cards_of_strangers_are_never_markup(
    page: Page, sim: SimulatorClient, complaints: list[str]
) -> None:
    phone = Phone(client=sim, account_sid=ACCOUNT, number=NUMBER, address=CONTACT, name="X")
    await phone.sends_bytes(EVIL.encode(), content_type="text/html", file_name=EVIL)
    await phone.card(EVIL, EVIL)
    await phone.place(1, 2, label=EVIL, address=EVIL)
    await phone.comes_from_ad(EVIL, headline=EVIL)
    await page.locator(".contact").click()
    await expect(page.locator(".bubble")).to_have_count(4)
    assert await page.locator("main img, #contact-list img").count() == 0
    assert complaints == []


async def test_the_menu_is_walked_with_arrows_and_left_with_escape(page: Page) -> None:
    await add_contact(page)
    await page.get_by_role("button", name="Attach").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Photos or video")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("button", name="Document")).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("button", name="Other kinds")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator("#attach-menu")).to_be_hidden()
    await expect(page.get_by_role("button", name="Attach")).to_be_focused()


def test_a_card_is_read_as_it_was_written() -> None:
    card = vcards.Card(name="Dona Ana; Filha, Neta", phones=("+5511912345678", "+551130000000"))
    assert vcards.read(vcards.write(card)) == card
    for nothing in (b"", b"x", b"BEGIN:VCARD", bytes(range(256))):
        assert vcards.read(nothing) is None
