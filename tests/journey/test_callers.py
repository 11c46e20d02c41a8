"""Who may post webhooks: a signature or an owner's key; and how soon a change of either is known everywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recado.channels.port import ErrorClass, SendError
from recado.channels.twilio import accounts
from recado.channels.twilio.senders import Senders
from recado.db.scope import Scope, scoped
from recado.identity import keys
from recado.ids import new_id
from recado.simulator.client import SimulatorClient
from tests.channels.examples import inbound
from tests.journey.front import ACCOUNT_SID, PUBLIC_URL, TOKEN, Fields, Front, message_sid, open_front
from tests.product import INBOUND, OUTBOUND, Company, Product, establish

OTHER_SID = "AC" + "1" * 32


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as front:
        yield front


def text(**changes: str) -> Fields:
    return list(inbound("text", MessageSid=message_sid(), **changes))


async def in_scope(front: Front, work: Callable[[Scope], Awaitable[Any]]) -> Any:
    async with scoped(front.wiring.pool, front.owner_id) as scope:
        return await work(scope)


async def key_of(front: Front, *scopes: str) -> str:
    made = await in_scope(front, lambda scope: keys.make(scope, name="gateway", scopes=scopes))
    return str(made[1])


async def by_key(front: Front, key: str, fields: Fields | None = None, **more: Any) -> int:
    answer = await front.post(fields or text(), token=None, headers={"X-API-Key": key}, **more)
    return answer.status_code


async def test_an_owners_key_with_the_scope_webhooks_posts_without_a_signature(front: Front) -> None:
    key = await key_of(front, "webhooks")
    assert await by_key(front, key) == 200
    assert (
        await by_key(
            front,
            key,
            [("AccountSid", ACCOUNT_SID), ("MessageSid", message_sid()), ("MessageStatus", "sent")],
            path=OUTBOUND,
        )
        == 200
    )
    assert len(front.stored()) == 1


async def test_json_may_come_by_key_without_a_hash_in_the_url(front: Front) -> None:
    headers = {"Content-Type": "application/json", "X-API-Key": await key_of(front, "webhooks")}
    body = json.dumps(dict(text(Body="Olá"))).encode()
    assert (await front.post(token=None, content=body, headers=headers)).status_code == 200
    assert [row["body"] for row in front.stored()] == ["Olá"]


async def test_a_key_posts_for_its_owners_accounts_only(front: Front) -> None:
    await establish(front.wiring, OTHER_SID, "other token", "whatsapp:+14155230000")
    key = await key_of(front, "webhooks")
    assert await by_key(front, key, text(AccountSid=OTHER_SID)) == 403
    assert await by_key(front, key, text(AccountSid="AC" + "2" * 32)) == 403
    assert front.stored() == []


@pytest.mark.parametrize("scope", ["read", "write", "admin"])
async def test_a_key_without_the_scope_webhooks_is_let_in_nowhere(front: Front, scope: str) -> None:
    assert await by_key(front, await key_of(front, scope)) == 403


async def test_every_wrong_key_looks_the_same_and_stores_nothing(front: Front) -> None:
    unscoped = await key_of(front, "read")
    looks = set()
    for key in ("rk_" + "x" * 43, "rk_", "", "x" * 9000, TOKEN, unscoped):
        answer = await front.post(text(), token=None, headers={"X-API-Key": key})
        looks.add((answer.status_code, answer.text))
    assert looks == {(403, '{"type":"about:blank","title":"Forbidden","status":403}')}
    assert front.stored() == []


async def test_a_signature_that_holds_lets_in_whatever_key_a_gateway_adds(front: Front) -> None:
    assert (await front.post(text(), headers={"X-API-Key": "the gateway's own"})).status_code == 200
    assert (await front.post(text(), token="wrong", headers={"X-API-Key": "the gateway's own"})).status_code == 403


async def test_an_account_may_be_called_at_an_address_of_its_own(front: Front) -> None:
    own = "https://padaria.example.com/whatsapp"

    async def move(scope: Scope) -> None:
        await accounts.set_public_url(scope, account_sid=ACCOUNT_SID, public_url=own + "/")

    await in_scope(front, move)
    await until(lambda: signed_for(front, own + INBOUND), 200)
    assert (await front.post(text(), url=PUBLIC_URL + INBOUND)).status_code == 403


async def signed_for(front: Front, url: str) -> int:
    return (await front.post(text(), url=url)).status_code


async def until(ask: Callable[[], Awaitable[int]], status: int, *, within_s: float = 25.0) -> None:
    async with asyncio.timeout(within_s):
        while await ask() != status:
            await asyncio.sleep(0.02)


async def test_a_token_by_reference_verifies_and_its_change_is_noticed(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADARIA_TOKEN", "from the environment")

    async def refer(scope: Scope) -> None:
        await accounts.add_account(
            scope, front.wiring.keyring, account_sid=ACCOUNT_SID, auth_token_ref="env:PADARIA_TOKEN"
        )

    await in_scope(front, refer)
    assert front.rows("SELECT auth_token, auth_token_ref FROM twilio_accounts") == [
        {"auth_token": None, "auth_token_ref": "env:PADARIA_TOKEN"}
    ]

    async def post(token: str) -> int:
        return (await front.post(text(), token=token)).status_code

    await until(lambda: post("from the environment"), 200)
    assert await post(TOKEN) == 403


async def test_a_source_that_fails_is_503_for_a_signature_and_no_bar_to_a_key(front: Front) -> None:
    async def refer(scope: Scope) -> None:
        await accounts.add_account(scope, front.wiring.keyring, account_sid=ACCOUNT_SID, auth_token_ref="env:NOT_SET")

    await in_scope(front, refer)

    async def post() -> int:
        answer = await front.post(text())
        assert answer.status_code != 503 or answer.headers["retry-after"] == "1"
        return answer.status_code

    await until(post, 503)
    assert (await front.post(text(), token=None)).status_code == 403
    assert front.stored() == []
    assert await by_key(front, await key_of(front, "webhooks")) == 200


async def test_a_source_that_fails_holds_what_is_to_be_sent_and_tells_the_owner_why(front: Front) -> None:
    async def refer(scope: Scope) -> Any:
        saved = await accounts.add_account(
            scope, front.wiring.keyring, account_sid=ACCOUNT_SID, auth_token_ref="env:NOT_SET"
        )
        return saved.id

    account_id = await in_scope(front, refer)
    senders = Senders(front.wiring.pool, front.wiring.keyring, api_url=None, messaging_url=None)
    with pytest.raises(SendError, match="env:NOT_SET: the variable is not set") as refused:
        await senders.of(front.owner_id, account_id)
    assert refused.value.error_class is ErrorClass.CONFIGURATION
    with pytest.raises(SendError, match="env:NOT_SET"):
        await senders.login_of(front.owner_id, account_id)
    await senders.aclose()


async def test_the_login_for_an_attachment_is_the_account_s_own_and_is_not_shown(front: Front) -> None:
    [account] = front.rows("SELECT id FROM twilio_accounts")
    senders = Senders(front.wiring.pool, front.wiring.keyring, api_url=None, messaging_url=None)
    login = await senders.login_of(front.owner_id, account["id"])
    assert login == (ACCOUNT_SID, (ACCOUNT_SID, TOKEN))
    assert TOKEN not in repr(login)
    with pytest.raises(SendError):
        await senders.login_of(new_id(), account["id"])
    await senders.aclose()


async def test_another_process_knows_of_a_changed_token_at_once(front: Front, front_url: str, tmp_path: Path) -> None:
    async with open_front(front_url, tmp_path, found=False) as other:
        assert (await other.post(text(), token=TOKEN)).status_code == 200

        async def replaced(scope: Scope) -> None:
            await accounts.add_account(scope, front.wiring.keyring, account_sid=ACCOUNT_SID, auth_token="new")

        await in_scope(front, replaced)

        async def with_the_new() -> int:
            return (await other.post(text(), token="new")).status_code

        await until(with_the_new, 200)
        assert (await other.post(text(), token=TOKEN)).status_code == 403


async def test_another_process_knows_of_a_new_account_and_of_a_revoked_key_at_once(
    front: Front, front_url: str, tmp_path: Path
) -> None:
    async with open_front(front_url, tmp_path, found=False) as other:
        assert (await other.post(text(AccountSid=OTHER_SID), token="other token")).status_code == 403
        await establish(front.wiring, OTHER_SID, "other token", "whatsapp:+14155230000")

        async def signed() -> int:
            return (await other.post(text(AccountSid=OTHER_SID), token="other token")).status_code

        await until(signed, 200)
        made, key = await in_scope(front, lambda scope: keys.make(scope, name="k", scopes=["webhooks"]))
        other_pool = replace(other, owner_id=front.owner_id)
        assert await by_key(other_pool, key) == 200
        await in_scope(front, lambda scope: keys.revoke(scope, made.id, now=front.wiring.clock.now()))
        await until(lambda: by_key(other_pool, key), 403)


async def test_what_changed_while_nobody_heard_is_looked_up_again(front: Front) -> None:
    listening = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = current_database()"

    async def listeners() -> int:
        return int(front.rows(f"SELECT count(*) AS n {listening}")[0]["n"])

    await until(listeners, 1)
    await asyncio.sleep(0.2)  # until the process has heard that it listens
    assert (await front.post(text())).status_code == 200
    place = f"twilio_accounts/{account_id(front)}/auth_token"
    sealed = front.wiring.keyring.seal("unheard", owner_id=front.owner_id, row=place)
    with psycopg.connect(front.database_url, options="-c search_path=recado") as conn:
        # Without the trigger's word, as if the connection had been away.
        conn.execute("SET session_replication_role = replica")
        conn.execute("UPDATE twilio_accounts SET auth_token = %s", [sealed])
    assert (await front.post(text(), token="unheard")).status_code == 403
    front.rows(f"SELECT pg_terminate_backend(pid) {listening}")

    async def unheard() -> int:
        return (await front.post(text(), token="unheard")).status_code

    await until(unheard, 200)


def account_id(front: Front) -> Any:
    return front.rows("SELECT id FROM twilio_accounts")[0]["id"]


def rotate(company: Company, token: str | None) -> None:
    wiring = company.product.wiring
    assert wiring is not None

    async def work() -> None:
        async with scoped(wiring.pool, company.owner_id) as scope:
            await accounts.rotate_token(scope, wiring.keyring, account_sid=company.account_sid, auth_token=token)

    company.product.call(work)


def at_twilio(company: Company, *tokens: str) -> None:
    """The account's tokens at the simulated Twilio, the primary one first."""

    async def work() -> None:
        async with SimulatorClient(company.product.simulator_url) as client:
            await client.add_account(company.account_sid, tokens)
            await client.add_number(company.account_sid, company.number, company.product.base_url + INBOUND)

    company.product.call(work)


def test_nothing_is_lost_or_held_at_any_moment_of_a_token_rotation(product: Product) -> None:
    company = product.company()
    contact = company.contact()

    def converses(count: int) -> None:
        assert contact.says("Que horas vocês abrem?").statuses == [200]
        contact.settled(count)

    converses(1)
    at_twilio(company, company.token, "secondary")
    rotate(company, "secondary")
    converses(2)
    at_twilio(company, "secondary")
    converses(3)
    rotate(company, None)
    converses(4)
