from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from recado.channels.twilio.client import TwilioHttp, TwilioSender
from tests.channels.fake_twilio import ACCOUNT, FakeTwilio


@pytest.fixture
async def twilio() -> AsyncIterator[FakeTwilio]:
    fake = FakeTwilio()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    fake.held.set()
    await runner.cleanup()


@pytest.fixture
async def sender(twilio: FakeTwilio) -> AsyncIterator[TwilioSender]:
    http = TwilioHttp(timeout_s=0.5, connect_s=0.3)
    yield TwilioSender(
        account_sid=ACCOUNT,
        username=ACCOUNT,
        password="tópsecret",
        api_url=twilio.url + "/",
        messaging_url=twilio.url,
        http=http,
    )
    await http.aclose()
