from __future__ import annotations

from tests.cli.conftest import Terminal
from tests.cli.rows import Rows


def test_an_owners_words_are_listed_beside_those_of_all_added_changed_and_removed(recado: Terminal, rows: Rows) -> None:
    owner = ("--owner", rows.owner)
    given = ("--word", "Chega de mensagens!", "--language", "pt")
    made = recado("consent", "add", *owner, *given, "--action", "stop", "--json").json
    assert made["word"] == "chega de mensagens"
    changed = recado("consent", "add", *owner, *given, "--action", "start", "--json").json
    assert (changed["id"], changed["action"]) == (made["id"], "start")
    listed = recado("consent", "words", *owner, "--json").json
    assert listed[-1] == changed
    assert {"id": None, "word": "sair", "action": "stop", "language": "pt"} in listed
    assert recado("consent", "remove", *owner, "--id", made["id"]).code == 0
    assert all(word["id"] is None for word in recado("consent", "words", *owner, "--json").json)
    assert rows.value("SELECT count(*) FROM audit WHERE thing = 'consent_word'") == 3


def test_what_is_no_word_is_wrong_use_and_one_of_all_owners_stays(recado: Terminal, rows: Rows) -> None:
    command = ("consent", "add", "--owner", rows.owner, "--action", "start", "--word")
    assert (recado(*command, "!!!").code, recado(*command, "Sair").code) == (2, 1)
    assert "every owner" in recado(*command, "Sair").complaint


def test_people_take_back_what_people_decided_and_never_what_the_contact_said(recado: Terminal, rows: Rows) -> None:
    contact = rows.value("SELECT id FROM contacts")
    named = ("--owner", rows.owner, "--contact", contact)
    done = recado("contacts", "suppress", *named, "--json").json
    assert (done["suppressed"], done["suppressed_why"]) == (True, "people")
    assert recado("contacts", "allow", *named, "--json").json["suppressed"] is False
    rows.conn.execute(
        "INSERT INTO suppressions (owner_id, identity_key, reason) SELECT owner_id, identity_key, 'word' FROM contacts"
    )
    refused = recado("contacts", "allow", *named)
    assert refused.code == 1
    assert "only they can" in refused.complaint
    assert rows.value("SELECT count(*) FROM suppressions") == 1
    actions = rows.conn.execute("SELECT action FROM audit WHERE thing = 'contact' ORDER BY id").fetchall()
    assert actions == [("suppress",), ("allow",)], "the refused one is not among them"
