"""Whether a contact is a number of this installation: an owner says so of its own, of others' only who has proof."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from recado.db.pool import conninfo
from tests.db.owned_rows import Conn, Tenant, insert, settle
from tests.lending import Databases

KEY = "whatsapp:+5511987654321"


@pytest.fixture
def us(databases: Databases) -> Iterator[tuple[Conn, Conn, Tenant, Tenant]]:
    """A connection that sees all, the application's, the owner who asks on it, and another one."""
    with databases.one() as url, psycopg.connect(url, autocommit=True, options="-c search_path=recado") as conn:
        ours, theirs = settle(conn), settle(conn)
        with psycopg.connect(conninfo(url, "recado_app"), autocommit=True) as app:
            app.execute("SELECT set_config('recado.owner_id', %s, false)", [str(ours.id)])
            yield conn, app, ours, theirs


def names(conn: Conn, owner: Tenant, address: str) -> None:
    account, number = owner.of("twilio_accounts"), uuid4()
    insert(conn, "numbers", {"owner_id": owner.id, "id": number, "account_id": account, "address": address})


def prove(app: Conn, owner: Tenant, listed: list[str] | None, *, shared: list[str] | None = None) -> None:
    """What Twilio said of the owner's account; the owner who asks is the same again afterwards."""
    before = app.execute("SELECT current_setting('recado.owner_id')").fetchone()
    assert before is not None
    app.execute("SELECT set_config('recado.owner_id', %s, false)", [str(owner.id)])
    app.execute("SELECT prove_numbers(%s, %s, %s, now())", [owner.of("twilio_accounts"), listed, shared or []])
    app.execute("SELECT set_config('recado.owner_id', %s, false)", [before[0]])


def proven(conn: Conn, owner: Tenant) -> set[str]:
    """The owner's proven numbers."""
    found = conn.execute("SELECT address FROM numbers WHERE owner_id = %s AND proven_at IS NOT NULL", [owner.id])
    return {address for (address,) in found}


def test_a_number_is_whose_twilio_says_last_and_silence_changes_nothing(us: tuple[Conn, Conn, Tenant, Tenant]) -> None:
    conn, app, ours, theirs = us
    sandbox = "whatsapp:+14155238886"
    for owner in (ours, theirs):
        names(conn, owner, KEY)
        names(conn, owner, sandbox)
    prove(app, ours, [KEY], shared=[sandbox])
    assert not proven(conn, ours), "nothing is proven of an account that is only claimed"
    conn.execute("UPDATE twilio_accounts SET proven_at = now()")
    prove(app, ours, [KEY], shared=[sandbox])
    prove(app, theirs, None, shared=[sandbox])
    assert (proven(conn, ours), proven(conn, theirs)) == ({KEY, sandbox}, {sandbox})
    prove(app, theirs, [KEY], shared=[sandbox])
    assert (proven(conn, ours), proven(conn, theirs)) == ({sandbox}, {KEY, sandbox}), "it went to who proved it later"
    prove(app, theirs, [], shared=[sandbox])
    assert proven(conn, theirs) == {sandbox}, "Twilio lists it no longer"
    prove(app, theirs, [KEY], shared=[sandbox])
    conn.execute(
        "UPDATE twilio_accounts SET removed_at = now(), removed_why = 'removed', auth_token = NULL WHERE id = %s",
        [theirs.of("twilio_accounts")],
    )
    assert not proven(conn, theirs), "it is asked for anew when the account comes back"
    prove(app, theirs, [KEY], shared=[sandbox])
    assert not proven(conn, theirs)


def is_own(app: Conn, key: str = KEY) -> bool:
    [[own]] = app.execute("SELECT is_own_number(%s)", [key]).fetchall()
    return bool(own)


def test_no_owner_has_anothers_contact_taken_for_a_machine_by_naming_their_number(
    us: tuple[Conn, Conn, Tenant, Tenant],
) -> None:
    conn, app, _, theirs = us
    account = theirs.of("twilio_accounts")
    names(conn, theirs, KEY)
    assert not is_own(app), "claimed by somebody who proved nothing"
    conn.execute("UPDATE twilio_accounts SET proven_at = now() WHERE id = %s", [account])
    assert not is_own(app), "claimed by somebody who proved their account, but not that it has this number"
    prove(app, theirs, [KEY])
    assert is_own(app)
    conn.execute("UPDATE numbers SET status = 'unrouted' WHERE account_id = %s", [account])
    assert not is_own(app), "nothing answers there"
    conn.execute("UPDATE numbers SET status = 'active' WHERE account_id = %s", [account])
    conn.execute(
        "UPDATE twilio_accounts SET removed_at = now(), removed_why = 'removed', auth_token = NULL WHERE id = %s",
        [account],
    )
    assert not is_own(app), "whose number it is now, nobody knows"


def test_an_owners_own_numbers_are_its_own_proven_or_not_in_whichever_form_until_their_account_is_removed(
    us: tuple[Conn, Conn, Tenant, Tenant],
) -> None:
    conn, app, ours, theirs = us
    names(conn, ours, "whatsapp:+551187654321")
    assert is_own(app)
    assert not is_own(app, "whatsapp:+5511987654322")
    account = ours.of("twilio_accounts")
    conn.execute("UPDATE numbers SET status = 'unrouted' WHERE account_id = %s", [account])
    assert is_own(app)
    app.execute("SELECT set_config('recado.owner_id', %s, false)", [str(theirs.id)])
    assert not is_own(app)
    app.execute("SELECT set_config('recado.owner_id', '', false)")
    assert not is_own(app), "nobody asks"
    app.execute("SELECT set_config('recado.owner_id', %s, false)", [str(ours.id)])
    conn.execute(
        "UPDATE twilio_accounts SET removed_at = now(), removed_why = 'removed', auth_token = NULL WHERE id = %s",
        [account],
    )
    assert not is_own(app)


def test_what_died_is_written_down_and_counted_and_changed_by_nobody(us: tuple[Conn, Conn, Tenant, Tenant]) -> None:
    conn, app, *_ = us
    rights = {
        (role, right): conn.execute("SELECT has_table_privilege(%s, 'executor_deaths', %s)", [role, right]).fetchone()
        for role in ("recado_app", "recado_platform")
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
    }
    assert {key for key, found in rights.items() if found == (True,)} == {
        ("recado_platform", right) for right in ("SELECT", "INSERT", "DELETE")
    }
    conn.execute("INSERT INTO executor_deaths (executor_id) SELECT 'x' FROM generate_series(1, 3)")
    counted = app.execute("SELECT executor_deaths_since(now() - interval '1 minute')").fetchone()
    assert counted == (3,)
