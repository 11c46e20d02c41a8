"""The receivers that the documentation shows verify what comes, and refuse what somebody else made."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from recado.ids import new_id
from recado.webhooks import payload
from recado.webhooks.post import Poster
from tests.fleet import free_port

PAGE = (Path(__file__).parents[2] / "docs/how-to/receive-events.md").read_text()


def shown(language: str) -> str:
    [code] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(code)


@pytest.mark.parametrize("language", ["python", "js"])
async def test_the_receiver_on_the_page_takes_what_is_signed_once_and_refuses_the_rest(
    language: str, tmp_path: Path
) -> None:
    node = shutil.which("node")
    if language == "js" and node is None:
        assert not os.environ.get("CI"), "CI has node"
        pytest.skip("needs node")
    file = tmp_path / ("receiver.py" if language == "python" else "receiver.mjs")
    file.write_text(shown(language))
    secret, port = payload.new_secret(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable if language == "python" else str(node),
        str(file),
        env={"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        poster = Poster([ip_network("127.0.0.0/8")])
        url, now = f"http://127.0.0.1:{port}/", datetime.now(UTC)

        async def post(body: str, headers: dict[str, str]) -> int | None:
            async with asyncio.timeout(60):
                while (posted := await poster.post(url, body, headers)).outcome == "unreachable":
                    await asyncio.sleep(0.05)
            return posted.http_status

        letter = payload.of_test(new_id(), new_id(), now=now)
        signed = payload.headers(letter, [payload.new_secret(), secret], now=now)
        assert await post(letter.body, signed) == 204
        assert await post(letter.body, signed) == 204
        stranger = payload.headers(letter, [payload.new_secret()], now=now)
        late = payload.headers(letter, [secret], now=now - timedelta(minutes=6))
        for body, headers in (
            (letter.body, stranger),
            (letter.body, late),
            (letter.body.replace("webhooks", "webhookz"), signed),
            (letter.body, signed | {"webhook-id": "evt_1"}),
            (letter.body, {name: value for name, value in signed.items() if name != "webhook-signature"}),
        ):
            assert await post(body, headers) == 401
        await poster.aclose()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        told, _ = await process.communicate()
    assert told.decode().split("\n")[0].split()[0] == payload.TEST
    assert told.decode().count(payload.TEST) == 1
