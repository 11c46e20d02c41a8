from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from recado.db.secrets import keyring
from tests.cli.conftest import Terminal
from tests.cli.rows import ACCOUNT_SID, NUMBER, TOKEN, Rows
from tests.conftest import SECRET_KEYS

FAQ = "# Horário\nAbrimos das 7h às 19h.\n\n# Entrega\nEntregamos no centro.\n"


def test_four_commands_set_an_owner_up_and_repeated_they_find_what_they_made(recado: Terminal) -> None:
    (recado.folder / "faq.md").write_text(FAQ)
    (recado.folder / "instructions.txt").write_text("Seja breve.\n")

    def set_up() -> list[str]:
        owner = recado.apart("owners", "add", "Padaria Central", "--json").json["id"]
        account = ("--account-sid", ACCOUNT_SID, "--auth-token-stdin")
        return [
            owner,
            recado("accounts", "add", "--owner", owner, *account, "--json", stdin=TOKEN + "\n").json["id"],
            recado("numbers", "add", "--account", ACCOUNT_SID, "--address", NUMBER, "--json").json["id"],
            recado("knowledge", "add", "--owner", owner, "--file", "faq.md", "--json").json["id"],
            recado(*("assistants", "set", "--owner", owner, "--instructions-file", "instructions.txt", "--json")).json[
                "id"
            ],
        ]

    made = set_up()
    assert set_up() == made
    [number] = recado("numbers", "list", "--json").json
    assert (number["status"], number["assistant"]) == ("active", "default")
    [assistant] = recado("assistants", "list", "--owner", made[0], "--json").json
    assert (assistant["id"], assistant["instructions_chars"], assistant["numbers"]) == (made[4], 11, 1)
    [source] = recado("knowledge", "list", "--json").json
    assert (source["source"], source["entries"], source["language"]) == ("faq.md", 2, "pt")
    assert [owner["name"] for owner in recado("owners", "list", "--json").json] == ["Padaria Central"]


def test_an_auth_token_is_shown_nowhere_and_stored_encrypted(recado: Terminal, rows: Rows) -> None:
    sid = "AC" + "b" * 32
    ran = recado("accounts", "add", "--owner", rows.owner, "--account-sid", sid, "--auth-token-stdin", stdin="s3cret-1")
    assert ran.code == 0
    listed = recado("accounts", "list", "--json")
    assert "s3cret-1" not in ran.out + ran.err + listed.out + listed.err
    sealed = rows.value("SELECT auth_token FROM twilio_accounts WHERE account_sid = %s", sid)
    assert isinstance(sealed, bytes)
    assert b"s3cret-1" not in sealed


def test_a_rotation_takes_a_second_token_beside_the_first_and_then_it_alone(recado: Terminal, rows: Rows) -> None:
    def tokens() -> list[str]:
        stored = rows.conn.execute("SELECT auth_token, secondary_token FROM twilio_accounts").fetchall()[0]
        named = zip(("auth_token", "secondary_token"), stored, strict=True)
        ring = keyring([SECRET_KEYS])
        return [
            ring.open(sealed, owner_id=rows.owner, row=f"twilio_accounts/{rows.account}/{column}")
            for column, sealed in named
            if sealed
        ]

    ran = recado("accounts", "rotate", "--account", ACCOUNT_SID, "--auth-token-stdin", stdin="second")
    assert f"recado accounts rotate --account {ACCOUNT_SID} --finish" in ran.out
    assert tokens() == [TOKEN, "second"]
    assert recado("accounts", "list", "--json").json[0]["rotating"] is True
    assert recado("accounts", "rotate", "--account", ACCOUNT_SID, "--finish", "--json").json["rotating"] is False
    assert tokens() == ["second"]


def test_a_number_that_was_unrouted_is_listed_and_what_waits_for_it_is_answered_once_added(
    recado: Terminal, rows: Rows
) -> None:
    rows.conn.execute("UPDATE numbers SET status = 'unrouted'")
    waiting = rows.inbound(status="unrouted")
    rows.conn.execute("UPDATE messages SET received_at = now()")
    assert [number["status"] for number in recado("numbers", "list", "--json").json] == ["unrouted"]
    recado("assistants", "set", "--owner", rows.owner, "--name", "night", "--json")
    arguments = ("--account", ACCOUNT_SID, "--address", NUMBER)
    assert recado("numbers", "add", *arguments, "--json").json["assistant"] == "default"
    assert rows.status(waiting) == "received"
    added = recado("numbers", "add", *arguments, "--assistant", "night", "--json").json
    assert (added["id"], added["assistant"], added["status"]) == (str(rows.number), "night", "active")


def test_an_account_of_another_owner_is_refused(recado: Terminal, rows: Rows) -> None:
    other = recado("owners", "add", "Outra", "--json").json["id"]
    arguments = ("--owner", other, "--account-sid", ACCOUNT_SID, "--auth-token-stdin")
    ran = recado("accounts", "add", *arguments, stdin="x")
    assert ran.code == 1
    assert "another owner" in ran.complaint
    assert rows.value("SELECT owner_id FROM twilio_accounts") == rows.owner


def test_an_assistant_keeps_what_is_not_given_and_a_wrong_model_changes_nothing(recado: Terminal, rows: Rows) -> None:
    (recado.folder / "i.txt").write_text("Fale como um padeiro.")
    (recado.folder / "sorry.txt").write_text("Já volto.")
    given = ("assistants", "set", "--owner", rows.owner)
    recado(*given, "--instructions-file", "i.txt", "--language", "es", "--json")
    made = recado(*given, "--apology-file", "sorry.txt", "--json").json
    assert (made["instructions_chars"], made["language"], made["has_apology"]) == (21, "es", True)
    ran = recado(*given, "--model", "openai:gpt-5-mini", "--language", "en")
    assert ran.code == 2
    assert "--model openai:gpt-5-mini: OPENAI_API_KEY is not set" in ran.complaint
    assert rows.value("SELECT language FROM assistants") == "es"
    ran = recado(*given, "--model", "openai:gpt-5-mini", "--json", OPENAI_API_KEY="sk-test")
    assert ran.json["model"] == "openai:gpt-5-mini"
    assert recado(*given, "--model", "", "--json").json["model"] is None
    assert recado(*given, "--sees", "yes", "--json").json["sees"] is True
    assert recado(*given, "--sees", "auto", "--json").json["sees"] is None
    wrong = recado(*given, "--sees", "maybe")
    assert (wrong.code, "--sees must be one of yes, no, auto" in wrong.complaint) == (2, True)
    for name in ("", "\u200b", "a" * 101):
        wrong = recado(*given, "--name", name, "--language", "pt")
        assert (wrong.code, "1 to 100 characters" in wrong.complaint) == (2, True)


def test_whether_an_assistant_may_send_templates_is_yes_or_no(recado: Terminal, rows: Rows) -> None:
    given = ("assistants", "set", "--owner", rows.owner)
    assert recado(*given, "--language", "es", "--json").json["templates"] is False
    assert recado(*given, "--templates", "yes", "--json").json["templates"] is True
    assert recado(*given, "--language", "en", "--json").json["templates"] is True
    assert recado(*given, "--templates", "no", "--json").json["templates"] is False
    wrong = recado(*given, "--templates", "maybe")
    assert (wrong.code, "--templates must be one of yes, no" in wrong.complaint) == (2, True)
    assert rows.value("SELECT templates FROM assistants") is False


def test_an_owner_that_does_not_exist_is_said_to_be_unknown(recado: Terminal, tmp_path: Path) -> None:
    (tmp_path / "faq.md").write_text(FAQ)
    nobody = UUID(str(uuid4()))
    for arguments in (
        ("knowledge", "add", "--owner", nobody, "--file", "faq.md"),
        ("accounts", "add", "--owner", nobody, "--account-sid", ACCOUNT_SID, "--auth-token-stdin"),
        ("numbers", "list", "--owner", nobody),
    ):
        ran = recado(*arguments, stdin="token")
        assert ran.code == 1
        assert str(nobody) in ran.complaint


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("missing.md", None, "No such file"),
        ("binary.md", b"\x89PNG\0\xff", "not UTF-8"),
        ("empty.md", b"", "no entry"),
        ("faq.pdf", b"text", ".csv"),
    ],
)
def test_a_file_that_can_not_be_read_as_knowledge_is_wrong_use(
    bare: Terminal, name: str, data: bytes | None, says: str
) -> None:
    if data is not None:
        (bare.folder / name).write_bytes(data)
    ran = bare("knowledge", "add", "--owner", uuid4(), "--file", name)
    assert ran.code == 2
    assert says in ran.complaint
