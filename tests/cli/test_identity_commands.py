from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from tests.cli.rows import ACCOUNT_SID, Rows

PASSWORD = "cavalo bateria grampo"


def test_users_keys_and_owners_are_managed_and_all_of_it_stands_in_the_audit(recado: Terminal, rows: Rows) -> None:
    root = recado(
        "users", "add", "--platform", "--email", "root@p.example", "--password-stdin", "--json", stdin=PASSWORD
    )
    assert (root.json["owner_id"], root.json["role"]) == (None, "admin")
    invited = recado("users", "add", "--owner", rows.owner, "--email", "Eva@x.example", "--role", "viewer", "--invite")
    token = invited.out.splitlines()[-1]
    assert token.startswith("ri_")
    eva = ("users", "add", "--owner", rows.owner, "--email", "eva@x.example", "--role", "operator", "--json")
    made = recado(*eva, "--password-stdin", stdin=PASSWORD + "\n").json
    assert recado(*eva, "--password-stdin", stdin="um outro segredo bom").json["id"] == made["id"]
    for _ in range(2):
        assert recado("users", "disable", made["id"], "--json").json["status"] == "disabled"
    [listed] = recado("users", "list", "--owner", rows.owner, "--json").json
    assert (listed["email"], listed["role"], listed["status"]) == ("eva@x.example", "operator", "disabled")
    for _ in range(2):
        assert recado("users", "enable", made["id"], "--json").json["status"] == "active"

    key = recado(
        *("keys", "add", "--owner", rows.owner, "--name", "shop", "--scope", "read", "--scope", "webhooks"),
        *("--expires-days", 30, "--json"),
    ).json
    assert (key["key"][:3], key["scopes"]) == ("rk_", ["read", "webhooks"])
    for days in (3651, 10**12):
        too_long = recado(
            "keys", "add", "--owner", rows.owner, "--name", "x", "--scope", "read", "--expires-days", days
        )
        assert (too_long.code, "3650 days ahead at most" in too_long.complaint) == (2, True)
    keys = recado("keys", "list", "--owner", rows.owner)
    assert key["key"][:7] in keys.out
    for _ in range(2):
        assert recado("keys", "revoke", key["id"], "--json").json["revoked_at"] is not None

    assert recado("owners", "suspend", rows.owner, "--json").json["status"] == "suspended"
    assert rows.value("SELECT status FROM owners") == "suspended"
    assert "those of the last 24 hours that were held meanwhile" in recado("owners", "activate", rows.owner).out
    made = recado("owners", "add", "Outra", "--json").json
    assert made["made"]
    assert recado("owners", "add", "Outra", "--json").json == made | {"made": False}
    assert recado("owners", "add", "Outra").out == f"owner {made['id']}  Outra  was there\n"

    entries = recado("audit", "list", "--json").json
    assert [(entry["action"], entry["thing"]) for entry in reversed(entries)] == [
        ("add", "user"),
        ("add", "invitation"),
        ("add", "user"),
        ("set_password", "user"),
        ("disable", "user"),
        ("enable", "user"),
        ("add", "api_key"),
        ("revoke", "api_key"),
        ("suspend", "owner"),
        ("activate", "owner"),
        ("add", "owner"),
    ]
    assert {(entry["caller_kind"], entry["caller_name"]) for entry in entries} == {("cli", _me())}
    own = recado("audit", "list", "--owner", rows.owner, "--json")
    assert len(own.json) == 9
    for secret in (PASSWORD, token, key["key"]):
        assert secret not in own.out + keys.out
        for table in ("users", "invitations", "api_keys", "audit"):
            assert secret not in str(rows.value(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"))


def test_the_last_admin_of_an_owner_stays_at_the_command_line_too(recado: Terminal, rows: Rows) -> None:
    add = ("users", "add", "--owner", rows.owner, "--email", "eva@x.example", "--password-stdin", "--json", "--role")
    eva = recado(*add, "admin", stdin=PASSWORD).json
    for refused in (recado("users", "disable", eva["id"]), recado(*add, "viewer", stdin=PASSWORD)):
        assert refused.code == 1
        assert "last active admin" in refused.complaint
    assert rows.value("SELECT role || ' ' || status FROM users") == "admin active"


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def test_what_changes_an_owners_things_stands_in_the_audit_without_their_content(
    recado: Terminal, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "faq.md").write_text("# Horário\nAbrimos das 7h às 19h.\n")
    (tmp_path / "i.txt").write_text("Fale como um padeiro.")
    account = ("--account", ACCOUNT_SID)
    add = ("accounts", "add", "--owner", rows.owner, "--account-sid", ACCOUNT_SID, "--auth-token-stdin")
    assert recado(*add, stdin="first-token").code == 0
    assert recado("accounts", "rotate", *account, "--auth-token-stdin", stdin="second-token").code == 0
    assert recado("accounts", "rotate", *account, "--finish").code == 0
    assert recado("numbers", "add", *account, "--address", "whatsapp:+14155238887").code == 0
    assert recado("knowledge", "add", "--owner", rows.owner, "--file", "faq.md").code == 0
    assert recado("assistants", "set", "--owner", rows.owner, "--instructions-file", "i.txt").code == 0
    failed = rows.outbound(status="failed", parts=[("failed", None)])
    assert recado("failed", "retry", failed).code == 0
    # What fails changes nothing, the audit included.
    assert recado("failed", "retry", failed, "--json").json == [{"id": str(failed), "outcome": "in work"}]
    assert recado("accounts", "rotate", *account, "--finish").code == 2
    found = rows.conn.execute("SELECT action, thing, thing_id, owner_id, data::text FROM audit ORDER BY id").fetchall()
    assert [row[:2] for row in found] == [
        ("change", "twilio_account"),
        ("rotate", "twilio_account"),
        ("finish_rotation", "twilio_account"),
        ("add", "number"),
        ("add", "knowledge"),
        ("change", "assistant"),
        ("retry", "message"),
    ]
    assert {row[3] for row in found} == {rows.owner}
    for content in ("token", "padeiro", "7h"):
        assert content not in str([row[4] for row in found])


def test_a_command_that_changes_nothing_leaves_no_word_in_the_audit(
    recado: Terminal, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "faq.md").write_text("# Horário\nAbrimos das 7h às 19h.\n")
    (tmp_path / "i.txt").write_text("Fale como um padeiro.")
    account = ("--account", ACCOUNT_SID)

    def set_up() -> None:
        add = ("accounts", "add", "--owner", rows.owner, "--account-sid", ACCOUNT_SID, "--auth-token-stdin")
        for arguments, given in (
            (add, "first-token"),
            (("accounts", "set", *account, "--public-url", "https://hooks.example.com"), None),
            (("numbers", "add", *account, "--address", "whatsapp:+14155238887"), None),
            (("knowledge", "add", "--owner", rows.owner, "--file", "faq.md"), None),
            (("assistants", "set", "--owner", rows.owner, "--instructions-file", "i.txt"), None),
            (("plans", "add", "small", "--messages", 10), None),
            (("owners", "plan", "--owner", rows.owner, "--plan", "small"), None),
        ):
            assert recado(*arguments, **({} if given is None else {"stdin": given})).code == 0

    set_up()
    assert rows.value("SELECT count(*) FROM audit") == 7
    set_up()
    assert rows.value("SELECT count(*) FROM audit") == 7


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("users", "add", "--email", "a@x.example", "--invite"), "--owner ID"),
        (("users", "add", "--platform", "--email", "a@x.example"), "--password-stdin"),
        (("users", "add", "--platform", "--email", "a@x.example", "--password-stdin"), "standard input"),
    ],
)
def test_a_user_without_a_place_or_a_password_is_wrong_use(
    bare: Terminal, arguments: tuple[str, ...], says: str
) -> None:
    ran = bare(*arguments)
    assert ran.code == 2
    assert says in ran.complaint
