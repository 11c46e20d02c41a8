"""The phone in the browser works, and only this machine's pages reach what lies behind it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from playwright.async_api import Page, expect
from simulator_browser import add_contact, browser_test
from simulator_stage import ACCOUNT, CONTACT, NUMBER, Receiver
from twilio.rest import Client

from recado.simulator.app import SimulatorSettings, running
from recado.simulator.client import SimulatorClient

EVIL = '<img src=x onerror="document.title=1">'


async def answer(twilio: Client, body: str) -> None:
    await asyncio.to_thread(twilio.messages.create, to=CONTACT, from_=NUMBER, body=body)


@pytest.mark.usefixtures("sim")
class TestInTheBrowser:
    """What a person sees and does."""

    pytestmark = browser_test

    async def test_a_message_goes_out_and_an_answer_comes_in_with_ticks_that_turn_blue(
        self, page: Page, sim: SimulatorClient, receiver: Receiver, twilio: Client, complaints: list[str]
    ) -> None:
        await add_contact(page)
        box = page.get_by_label("Write as this contact")
        await box.fill("Olá!")
        await box.press("Shift+Enter")
        await box.press_sequentially("Vocês abrem hoje?")
        await box.press("Enter")
        mine = page.locator(".bubble.mine")
        await expect(mine.locator("p")).to_have_text("Olá!\nVocês abrem hoje?", use_inner_text=True)
        await expect(mine.locator(".ticks")).to_have_attribute("data-ticks", "delivered")
        (hit,) = receiver.hits
        assert (hit.params["Body"], hit.params["ProfileName"]) == ("Olá!\nVocês abrem hoje?", "Maria Souza")

        await twilio_types(sim, twilio, hit.params["MessageSid"])
        await expect(page.locator("#typing")).to_be_visible()
        await expect(mine.locator(".ticks.read")).to_be_visible()

        await answer(twilio, "Sim! Abrimos às *8h* e fechamos às 18h.")
        theirs = page.locator(".bubble.theirs")
        await expect(theirs.locator("strong")).to_have_text("8h")
        await expect(page.locator("#typing")).to_be_hidden()
        await expect(theirs.locator(".ticks.read")).to_be_visible()
        (reply,) = await sim.replies(CONTACT)
        assert reply.status == "read"
        assert complaints == []

    async def test_a_webhook_is_sent_again_from_its_bubble(self, page: Page, receiver: Receiver) -> None:
        await add_contact(page)
        await page.get_by_label("Write as this contact").fill("oi")
        await page.get_by_role("button", name="Send", exact=True).click()
        bubble = page.locator(".bubble.mine")
        await bubble.hover()
        await bubble.get_by_role("button", name="Send this webhook again").click()
        await expect(page.locator("#toast")).to_have_text("Sent again: 200")
        await expect(bubble.locator(".posts")).to_have_text("×2")
        assert receiver.hits[0].params == receiver.hits[1].params

    async def test_a_fault_is_switched_on_strikes_and_is_switched_off(
        self, page: Page, sim: SimulatorClient, twilio: Client
    ) -> None:
        await page.get_by_role("button", name="Switchboard").first.click()
        switch = page.get_by_role("switch", name="Delivery fails (63024)")
        await switch.check()
        await expect(page.locator("#faults-on")).to_have_text("1")
        (fault,) = await sim.faults()
        assert fault["delivery_status"] == "failed"
        await add_contact(page)
        await answer(twilio, "isto falha")
        await expect(page.locator(".bubble.theirs .why")).to_have_text("failed 63024")
        await expect(page.locator('[data-preset="fails"] .hits')).to_have_text("struck 1×")
        await switch.uncheck()
        await expect(page.locator("#faults-on")).to_be_hidden()
        assert await sim.faults() == []
        await page.get_by_label("strikes").select_option("once")
        await page.get_by_role("switch", name="429").check()
        await expect(page.locator('[data-preset="too-many-requests"] .hits')).to_have_text("struck 0×, 1 to go")

    async def test_what_people_write_is_never_markup(
        self, page: Page, sim: SimulatorClient, twilio: Client, complaints: list[str]
    ) -> None:
        await sim.send(EVIL, account_sid=ACCOUNT, from_=CONTACT, to=NUMBER, profile_name=EVIL)
        await page.locator(".contact").click()
        await answer(twilio, EVIL)
        await expect(page.locator(".bubble p")).to_have_text([EVIL, EVIL])
        await expect(page.locator("#chat-name")).to_have_text(EVIL)
        assert await page.locator("main img, #contact-list img").count() == 0
        assert complaints == []

    async def test_on_a_small_screen_one_thing_shows_at_a_time(self, page: Page, sim: SimulatorClient) -> None:
        await page.set_viewport_size({"width": 390, "height": 780})
        await sim.send("oi", account_sid=ACCOUNT, from_=CONTACT, to=NUMBER, profile_name="Maria")
        await expect(page.locator("main.chat")).to_be_hidden()
        await page.locator(".contact").click()
        await expect(page.locator("nav.contacts")).to_be_hidden()
        await expect(page.locator(".bubble")).to_have_count(1)
        await page.get_by_role("button", name="Switchboard").click()
        await page.keyboard.press("Escape")
        await expect(page.locator("#switchboard")).to_be_hidden()
        await page.get_by_role("button", name="Back to the contacts").click()
        await expect(page.locator(".contact .name")).to_have_text("Maria")
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390


async def twilio_types(sim: SimulatorClient, twilio: Client, sid: str) -> None:
    form = {"messageId": sid, "channel": "whatsapp"}
    url = f"{sim.base_url}/v2/Indicators/Typing.json"
    assert (await asyncio.to_thread(twilio.request, "POST", url, data=form)).status_code == 200


async def status_of(url: str, method: str = "GET", **headers: str) -> int:
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, allow_redirects=False) as response,
    ):
        return response.status


async def test_the_page_allows_no_inline_script_and_nothing_from_elsewhere(sim: SimulatorClient) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{sim.base_url}/phone") as response:
        text = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in text
    assert "<script>" not in text
    assert "//" not in text.replace("<!doctype", "")
    for name in ("phone.js", "api.js", "bubbles.js", "switchboard.js", "phone.css", "icon.svg"):
        assert await status_of(f"{sim.base_url}/static/{name}") == 200


@pytest.mark.parametrize("path", ["/sim/threads", "/phone", "/sim/events", "/"])
async def test_a_foreign_host_name_is_refused(sim: SimulatorClient, path: str) -> None:
    assert await status_of(sim.base_url + path, Host="evil.example") == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_another_site_changes_nothing(sim: SimulatorClient, origin: str) -> None:
    await sim.add_fault("slow")
    assert await status_of(f"{sim.base_url}/sim/reset", "POST", Origin=origin) == 403
    assert await status_of(f"{sim.base_url}/sim/faults", "DELETE", Origin=origin) == 403
    assert len(await sim.faults()) == 1
    assert await status_of(f"{sim.base_url}/sim/faults", "DELETE", Origin=sim.base_url) == 204


async def test_a_host_name_that_the_settings_allow_is_let_in() -> None:
    async with running(SimulatorSettings(port=0, allowed_hosts=("simulator",))) as url:
        assert await status_of(f"{url}/sim/health", Host="simulator:8010") == 200
        assert await status_of(f"{url}/sim/health", Host="localhost:1") == 200
        assert await status_of(f"{url}/sim/health", Host="other") == 403


async def test_the_rest_api_asks_for_credentials_and_not_for_a_host_name(sim: SimulatorClient) -> None:
    url = f"{sim.base_url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert await status_of(url, Host="api.twilio.com") == 401
