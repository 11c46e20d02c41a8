"""A simulator on a socket, an application that its webhooks reach, and the official client that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect
from simulator_browser import chromium
from simulator_stage import ACCOUNT, NUMBER, TOKEN, Receiver, official_client
from twilio.rest import Client

from recado.simulator.app import SimulatorSettings, running
from recado.simulator.client import SimulatorClient
from recado.simulator.engine import Pace


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    got = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", got.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    got.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield got
    await runner.cleanup()


@pytest.fixture
async def sim(receiver: Receiver) -> AsyncIterator[SimulatorClient]:
    """A simulator with one account whose number's webhook is the receiver's `/inbound`."""
    pace = Pace(sent_ms=10, delivered_ms=30, read_ms=20)
    async with (
        running(SimulatorSettings(port=0, pace=pace, retry_delay_ms=5, keeps_window=False)) as url,
        SimulatorClient(url) as client,
    ):
        await client.add_account(ACCOUNT, TOKEN)
        await client.add_number(ACCOUNT, NUMBER, f"{receiver.url}/inbound?tenant=acme")
        yield client


@pytest.fixture
def twilio(sim: SimulatorClient) -> Iterator[Client]:
    """The official client, unmodified, pointed at the simulator; its calls block: run them in a thread."""
    with official_client(sim.base_url) as client:
        yield client


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as there:
        yield there


@pytest.fixture
async def complaints() -> list[str]:
    """What the page's console complained about, blocked scripts and styles among them."""
    return []


@pytest.fixture
async def page(browser: Browser, sim: SimulatorClient, complaints: list[str]) -> AsyncIterator[Page]:
    view = await browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light", locale="en-GB")
    view.set_default_timeout(10_000)
    view.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    view.on("pageerror", lambda error: complaints.append(str(error)))
    await view.goto(f"{sim.base_url}/phone")
    await expect(view.locator("#live-words")).to_have_text("live")
    yield view
    await view.close()
