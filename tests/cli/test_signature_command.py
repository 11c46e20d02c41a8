"""`recado doctor signature` and `recado accounts set`, as an operator types them."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from recado.channels.twilio.signature import sign
from tests.cli.conftest import Terminal
from tests.cli.rows import ACCOUNT_SID, TOKEN, Rows

URL = "https://hooks.example.com/channels/twilio/v1/webhooks/inbound"
FIELDS = [("AccountSid", ACCOUNT_SID), ("Body", "Oi"), ("MessageSid", "SM" + "1" * 32)]


def test_the_doctor_names_the_cause_and_never_the_token(recado: Terminal, rows: Rows) -> None:
    (recado.folder / "body").write_text(urlencode(FIELDS))
    ask = ("doctor", "signature", "--body-file", "body", "--signature", sign(URL, TOKEN, FIELDS))
    holds = recado(*ask, "--url", URL)
    assert (holds.code, holds.out.strip()) == (0, f"the signature holds: primary token of {ACCOUNT_SID}")
    inner = recado(*ask, "--url", URL.replace("https", "http"), "--json")
    causes = json.loads(inner.out)["causes"]
    assert (inner.code, [cause["name"] for cause in causes]) == (1, ["scheme"])
    told = recado(*ask, "--url", URL.replace("https", "http"))
    assert "RECADO_TRUSTED_PROXIES" in told.out
    assert TOKEN not in holds.out + inner.out + told.out + told.err


def test_the_doctor_needs_an_account_that_it_knows(recado: Terminal, rows: Rows) -> None:
    (recado.folder / "body").write_text("Body=Oi")
    ask = ("doctor", "signature", "--url", URL, "--body-file", "body", "--signature", "x")
    assert recado(*ask).code == 2
    assert recado(*ask, "--account", "AC" + "9" * 32).code == 1


def test_an_account_gets_an_address_and_an_api_key_of_its_own_and_gives_them_back(recado: Terminal, rows: Rows) -> None:
    change = ("accounts", "set", "--account", ACCOUNT_SID, "--json")
    made = recado(*change, "--public-url", "https://padaria.example.com/w/").json
    assert made["public_url"] == "https://padaria.example.com/w"
    key = ("--api-key-sid", "SK" + "2" * 32)
    assert recado(*change, *key, "--api-key-secret-stdin", stdin="k3y-secret").json["api_key_sid"] == key[1]
    listed = recado("accounts", "list", "--json")
    assert "k3y-secret" not in listed.out
    assert recado(*change, "--public-url", "", "--api-key-sid", "").json["api_key_sid"] is None
    assert recado(*change, *key).code == 2
    assert recado(*change, "--public-url", "ftp://x").code == 2


def test_an_account_is_added_and_rotated_by_reference(recado: Terminal, rows: Rows) -> None:
    sid = "AC" + "b" * 32
    add = ("accounts", "add", "--owner", rows.owner, "--account-sid", sid)
    assert recado(*add, "--auth-token-ref", "vault:secret/padaria#token").code == 0
    assert recado(*add, "--auth-token-ref", "somewhere").code == 2
    assert recado(*add, "--auth-token-ref", "env:X", "--auth-token-stdin", stdin="x").code == 2
    assert recado("accounts", "rotate", "--account", sid, "--auth-token-ref", "env:PADARIA_NEXT").code == 0
    assert recado("accounts", "rotate", "--account", sid, "--finish").code == 0
    assert rows.value("SELECT auth_token_ref FROM twilio_accounts WHERE account_sid = %s", sid) == "env:PADARIA_NEXT"
