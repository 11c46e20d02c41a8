"""An AccountSid is tried at Twilio before it is bound; what could only be claimed is lost to whoever proves it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable

import pytest

from recado.channels.twilio.accounts import Secret
from recado.channels.twilio.proof import SANDBOX, prove, senders_of
from recado.errors import UsageError
from recado.simulator.app import running
from recado.simulator.client import SimulatorClient
from tests.cli.conftest import Ran, Terminal

SID, TOKEN = "AC" + "5" * 32, "7" * 32
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
async def twilio() -> AsyncIterator[str]:
    """A local Twilio that knows the account."""
    async with running() as url, SimulatorClient(url) as client:
        await client.add_account(SID, TOKEN)
        yield url


async def test_twilio_says_whose_token_it_is_and_silence_says_nothing(twilio: str) -> None:
    verdicts = [
        await prove(sid, Secret(token), api_url=url)
        for sid, token, url in (
            (SID, TOKEN, twilio),
            (SID, "8" * 32, twilio),
            ("AC" + "6" * 32, TOKEN, twilio),
            (SID, TOKEN, NOWHERE),
            (SID, TOKEN, twilio + "/elsewhere"),
        )
    ]
    assert verdicts == ["proven", "refused", "refused", "unknown", "unknown"]


async def test_the_answer_about_another_account_proves_nothing_and_no_path_is_asked_for() -> None:
    body = json.dumps({"sid": "AC" + "6" * 32, "status": "active"}).encode()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        verdicts = [await prove("AC" + digit * 32, Secret(TOKEN), api_url=url) for digit in "56"]
        assert verdicts == ["unknown", "proven"]
        assert await prove(f" {SID.lower()}\n", Secret(TOKEN), api_url=url) == "unknown", "the same, and no other path"
        for sid in (SID + "/Messages", "AC" + "5" * 30 + "..", SID + "\n5", "SK" + "5" * 32):
            with pytest.raises(UsageError):
                await prove(sid, Secret(TOKEN), api_url=url)


async def test_who_proves_an_account_gets_it_from_who_only_claimed_it(recado: Terminal, twilio: str) -> None:
    def ask(*arguments: object, url: str = twilio, **more: str) -> Awaitable[Ran]:
        return asyncio.to_thread(lambda: recado(*arguments, RECADO_TWILIO_API_URL=url, **more))

    taker = (await ask("owners", "add", "Taker", "--json")).json["id"]
    owner = (await ask("owners", "add", "Padaria", "--json")).json["id"]
    add = ("accounts", "add", "--account-sid", SID, "--auth-token-stdin", "--owner")
    number = ("numbers", "add", "--account", SID, "--address", "whatsapp:+14155238886", "--json")

    refused = await ask(*add, taker, stdin="invented")
    assert (refused.code, "Twilio refuses" in refused.complaint) == (2, True)
    assert (await ask("accounts", "list", "--json")).json == []

    claimed = (await ask(*add, taker, "--json", stdin="invented", url=NOWHERE)).json
    assert claimed["proven"] is False
    told = await ask(*add, taker, stdin="invented", url=NOWHERE)
    assert "unproven" in told.out
    theirs = (await ask(*number)).json["id"]
    offline = await ask(*add, owner, stdin=TOKEN, url=NOWHERE)
    assert (offline.code, "another owner" in offline.complaint) == (1, True)

    proven = (await ask(*add, owner, "--json", stdin=TOKEN)).json
    assert (proven["proven"], proven["id"] == claimed["id"]) == (True, False)
    assert (await ask(*add, owner, "--json", stdin=TOKEN)).json == proven
    listed = {row["owner_id"]: row for row in (await ask("accounts", "list", "--json")).json}
    assert (listed[taker]["removed_why"], listed[taker]["auth_token_ref"]) == ("lost", None)
    assert (listed[owner]["removed_why"], listed[owner]["proven"]) == (None, True)
    routed = {row["id"]: row["status"] for row in (await ask("numbers", "list", "--json")).json}
    assert routed == {theirs: "unrouted"}
    ours = (await ask(*number)).json
    assert ours["owner_id"] == owner
    lost = [entry for entry in (await ask("audit", "list", "--json")).json if entry["action"] == "lose"]
    assert [(entry["owner_id"], entry["thing_id"]) for entry in lost] == [(taker, claimed["id"])]

    again = await ask(*add, taker, stdin=TOKEN)
    assert (again.code, "another owner" in again.complaint) == (1, True), "what was proven stays"

    removed = (await ask("accounts", "remove", "--account", SID, "--json")).json
    assert removed["id"] == proven["id"]
    gone = await ask("accounts", "remove", "--account", SID)
    assert gone.code == 1
    assert {row["status"] for row in (await ask("numbers", "list", "--json")).json} == {"unrouted"}
    assert (await ask("doctor")).code in (0, 1)
    back = (await ask(*add, owner, "--json", stdin=TOKEN)).json
    assert back == proven
    assert (await ask(*number)).json == ours


async def test_who_proves_their_own_account_later_keeps_all_of_it_until_they_bring_it_back_unproven(
    recado: Terminal, twilio: str
) -> None:
    def ask(*arguments: object, url: str = twilio, **more: str) -> Awaitable[Ran]:
        return asyncio.to_thread(lambda: recado(*arguments, RECADO_TWILIO_API_URL=url, **more))

    owner = (await ask("owners", "add", "Padaria", "--json")).json["id"]
    add = ("accounts", "add", "--account-sid", SID, "--auth-token-stdin", "--json", "--owner", owner)
    claimed = (await ask(*add, stdin=TOKEN, url=NOWHERE)).json
    await ask("numbers", "add", "--account", SID, "--address", "whatsapp:+14155238886")
    proven = (await ask(*add, stdin=TOKEN)).json
    assert proven == claimed | {"proven": True}
    assert [row["status"] for row in (await ask("numbers", "list", "--json")).json] == ["active"]
    await ask("accounts", "remove", "--account", SID)
    assert (await ask(*add, stdin=TOKEN, url=NOWHERE)).json == claimed, "what was proven then says nothing of now"


async def test_a_number_is_proven_once_twilio_lists_it_as_verified_and_works_before(
    recado: Terminal, twilio: str
) -> None:
    def ask(*arguments: object, url: str = twilio, **more: str) -> Awaitable[Ran]:
        return asyncio.to_thread(lambda: recado(*arguments, RECADO_TWILIO_API_URL=url, **more))

    ours, strangers, waiting = "whatsapp:+551133330000", "whatsapp:+5511987654321", "whatsapp:+551133330001"
    async with SimulatorClient(twilio) as client:
        await client.add_number(SID, ours)
        await client.add_number(SID, waiting, status="PENDING_VERIFICATION")
    owner = (await ask("owners", "add", "Padaria", "--json")).json["id"]
    account = ("accounts", "add", "--account-sid", SID, "--auth-token-stdin", "--json", "--owner", owner)
    add = ("numbers", "add", "--account", SID, "--json", "--address")
    await ask(*account, stdin=TOKEN, url=NOWHERE)
    assert [(await ask(*add, address)).json["proven"] for address in (ours, SANDBOX)] == [False, False]
    await ask(*account, stdin=TOKEN)
    assert [(await ask(*add, address, url=NOWHERE)).json["proven"] for address in (ours, SANDBOX)] == [False, True]
    told = [(await ask(*add, address)).json for address in (ours, strangers, waiting)]
    assert [(number["proven"], number["status"]) for number in told] == [
        (True, "active"),
        (False, "active"),
        (False, "active"),
    ]
    doubted = [line for line in (await ask("doctor")).out.splitlines() if "does not list it" in line]
    assert [address in line for line, address in zip(doubted, (strangers, waiting), strict=True)] == [True, True]


async def test_only_the_whole_list_of_senders_says_what_is_not_on_it(twilio: str) -> None:
    numbers = [f"whatsapp:+5511333{n:05}" for n in range(120)]
    async with SimulatorClient(twilio) as client:
        for number in numbers:
            await client.add_number(SID, number)
    assert await senders_of(SID, (SID, TOKEN), messaging_url=twilio) == set(numbers)
    assert await senders_of(SID, (SID, "8" * 32), messaging_url=twilio) is None
    assert await senders_of(SID, (SID, TOKEN), messaging_url=NOWHERE) is None
    assert await senders_of(SID, (SID, TOKEN), messaging_url=twilio + "/elsewhere") is None


async def test_an_account_in_capitals_is_the_account(recado: Terminal) -> None:
    sid = "AC" + "5abcdef0" * 4
    async with running() as url, SimulatorClient(url) as client:
        await client.add_account(sid, TOKEN)
        await client.add_number(sid, "whatsapp:+551133330000")

        def ask(*arguments: object, **more: str) -> Awaitable[Ran]:
            return asyncio.to_thread(lambda: recado(*arguments, RECADO_TWILIO_API_URL=url, **more))

        owner = (await ask("owners", "add", "Padaria", "--json")).json["id"]
        add = ("accounts", "add", "--auth-token-stdin", "--json", "--owner", owner, "--account-sid")
        made = (await ask(*add, f" {sid.upper()} ", stdin=TOKEN)).json
        assert (made["account_sid"], made["proven"]) == (sid, True)
        assert (await ask(*add, sid.lower(), stdin=TOKEN)).json == made
        upper = ("--account", sid.upper(), "--json")
        number = (await ask("numbers", "add", *upper, "--address", "whatsapp:+551133330000")).json
        assert (number["account_sid"], number["proven"]) == (sid, True)
        key = ("--api-key-sid", "sk" + "AB" * 16, "--api-key-secret-stdin")
        assert (await ask("accounts", "set", *upper, *key, stdin="secret")).json["api_key_sid"] == "SK" + "ab" * 16
        assert (await ask("accounts", "rotate", *upper, "--auth-token-stdin", stdin="t" * 32)).json[
            "account_sid"
        ] == sid
        assert (await ask("accounts", "remove", *upper)).json["account_sid"] == sid
