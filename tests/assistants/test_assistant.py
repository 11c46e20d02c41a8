from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from recado.assistants import assistant
from recado.db.pool import Pool
from recado.db.scope import Scope, scoped
from recado.errors import NotFound, UsageError
from recado.ids import new_id
from tests.assistants.conftest import new_owner


async def test_the_default_assistant_is_made_once(scope: Scope) -> None:
    made = await assistant.ensure_default(scope)
    assert made == await assistant.ensure_default(scope) == await assistant.get(scope, None)
    assert (made.name, made.instructions, made.model, made.language, made.apology) == ("default", "", None, "pt", None)


async def test_the_default_assistant_is_made_once_however_many_ask_at_once(pool: Pool, owner_id: UUID) -> None:
    async def ask() -> UUID:
        async with scoped(pool, owner_id) as scope:
            return (await assistant.ensure_default(scope)).id

    assert len(set(await asyncio.gather(*(ask() for _ in range(12))))) == 1


async def test_setting_changes_what_is_given_and_leaves_the_rest(scope: Scope) -> None:
    await assistant.set(scope, None, instructions="Seja breve.", model="openai:gpt-5-mini")
    changed = await assistant.set(scope, None, language="es", apology="Perdón.")
    assert changed == await assistant.ensure_default(scope)
    assert changed.instructions == "Seja breve."
    assert changed.model == "openai:gpt-5-mini"
    assert (changed.language, changed.apology) == ("es", "Perdón.")


async def test_an_empty_model_or_apology_goes_back_to_the_platforms(scope: Scope) -> None:
    await assistant.set(scope, None, instructions="a", model="openai:gpt-5-mini", apology="Perdão.")
    back = await assistant.set(scope, None, model="", apology="", instructions="")
    assert (back.model, back.apology, back.instructions) == (None, None, "")


async def test_a_named_assistant_is_another_one_than_the_default(scope: Scope) -> None:
    named = await assistant.set(scope, "vendas", instructions="Venda.")
    assert (await assistant.ensure_default(scope)).id != named.id
    assert await assistant.get(scope, "vendas") == named
    assert await assistant.set(scope, "vendas", instructions="Venda.") == named


async def test_an_assistant_named_default_before_there_is_one_becomes_it(scope: Scope) -> None:
    named = await assistant.set(scope, "default", instructions="Oi.")
    assert await assistant.ensure_default(scope) == named


async def test_what_does_not_exist_is_not_found(scope: Scope) -> None:
    with pytest.raises(NotFound):
        await assistant.get(scope, "ninguém")
    with pytest.raises(NotFound):
        await assistant.get(scope, None)
    with pytest.raises(NotFound):
        await assistant.for_number(scope, uuid4())


@pytest.mark.parametrize("wrong", [{"language": "fr"}, {"name": " "}])
async def test_a_wrong_setting_is_refused_and_says_what_is_allowed(scope: Scope, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        await assistant.set(scope, wrong.pop("name", None), **wrong)


async def test_what_it_sees_stays_until_it_is_set_and_goes_back_to_what_is_known(scope: Scope) -> None:
    assert (await assistant.set(scope, "vendas")).sees is None
    assert (await assistant.set(scope, "vendas", sees=True)).sees is True
    assert (await assistant.set(scope, "vendas", instructions="Outras.")).sees is True
    assert (await assistant.get(scope, "vendas")).sees is True
    assert (await assistant.for_number(scope, await _number(scope, (await assistant.get(scope, "vendas")).id))).sees
    assert (await assistant.set(scope, "vendas", sees=False)).sees is False
    assert (await assistant.set(scope, "vendas", sees="auto")).sees is None


async def test_it_may_send_templates_only_when_told_so_and_until_told_otherwise(scope: Scope) -> None:
    assert (await assistant.set(scope, "vendas")).templates is False
    assert (await assistant.set(scope, "vendas", templates=True)).templates is True
    assert (await assistant.set(scope, "vendas", instructions="Outras.")).templates is True
    named = await assistant.get(scope, "vendas")
    assert (await assistant.for_number(scope, await _number(scope, named.id))).templates is True
    before = (await assistant.listed(scope, named.id)).version
    await assistant.set(scope, "vendas", templates=True)
    assert (await assistant.listed(scope, named.id)).version == before, "nothing changed"
    assert (await assistant.set(scope, "vendas", templates=False)).templates is False


async def test_a_number_has_its_own_assistant_or_the_default(scope: Scope) -> None:
    named = await assistant.set(scope, "vendas")
    assert await assistant.for_number(scope, await _number(scope, named.id)) == named
    plain = await assistant.for_number(scope, await _number(scope, None))
    assert plain == await assistant.get(scope, None)
    assert plain.id != named.id


async def test_no_owner_sees_anothers_assistant_or_number(pool: Pool, database_url: str, owner_id: UUID) -> None:
    async with scoped(pool, owner_id) as mine:
        named = await assistant.set(mine, "vendas")
        number = await _number(mine, named.id)
    async with scoped(pool, await new_owner(database_url)) as theirs:
        with pytest.raises(NotFound):
            await assistant.get(theirs, "vendas")
        with pytest.raises(NotFound):
            await assistant.for_number(theirs, number)


async def _number(scope: Scope, assistant_id: UUID | None) -> UUID:
    account, number = new_id(), new_id()
    await scope.conn.execute(
        "INSERT INTO twilio_accounts (owner_id, id, account_sid, auth_token) VALUES (%s, %s, %s, 'x')",
        [scope.owner_id, account, f"AC{account.hex}"],
    )
    await scope.conn.execute(
        "INSERT INTO numbers (owner_id, id, account_id, address, assistant_id) VALUES (%s, %s, %s, %s, %s)",
        [scope.owner_id, number, account, "whatsapp:+14155238886", assistant_id],
    )
    return number
