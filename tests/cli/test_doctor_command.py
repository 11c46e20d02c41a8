from __future__ import annotations

import json
from typing import Any

import pytest

from recado.ids import new_id
from recado.ops.doctor import examine_settings
from recado.ops.finding import Finding
from recado.settings import load
from tests.cli.conftest import Terminal
from tests.cli.rows import ACCOUNT_SID, NUMBER, Rows, new_sid
from tests.conftest import SECRET_KEYS

ANOTHER_KEY = "YW5vdGhlci1rZXktb2YtdGhlLXRlc3RzLTMyLWJ5dGU="


def by_name(out: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in out["checks"]}


def test_the_doctor_names_what_is_wrong_and_the_command_that_puts_it_right(recado: Terminal, rows: Rows) -> None:
    import json

    rows.conn.execute("UPDATE numbers SET status = 'unrouted'")
    rows.inbound(status="unrouted")
    rows.inbound(status="received")
    rows.conn.execute("UPDATE conversations SET attention = 'unanswered'")
    rows.outbound(status="failed", error_code=63024, parts=[("failed", new_sid())])
    ran = recado(*("doctor", "--json"), RECADO_PUBLIC_URL="https://hooks.example.com", RECADO_MODEL="openai:gpt-5-mini")
    assert ran.code == 1
    out = json.loads(ran.out)
    checks = by_name(out)
    assert out["ok"] is False
    assert checks["workers"]["state"] == "fail"
    assert checks["backlog"]["state"] == "fail"
    assert checks["numbers"]["state"] == "warn"
    assert checks["numbers"]["fix"] == f"recado numbers add --account {ACCOUNT_SID} --address {NUMBER}"
    assert "1 message" in checks["numbers"]["text"]
    assert checks["conversations"]["state"] == "warn"
    assert checks["failed"]["state"] == "warn"
    assert checks["accounts"]["state"] == "ok"
    assert checks["model"]["state"] == "fail"
    assert "OPENAI_API_KEY" in checks["model"]["text"]
    # The login of the tests is a superuser.
    assert checks["role"]["state"] == "warn"
    address = "https://hooks.example.com/channels/twilio/v1/webhooks/inbound#rc=3&rp=ct,rt,5xx"
    assert checks["webhook"]["text"].endswith(address)


def test_the_doctor_finds_tokens_that_the_present_keys_do_not_open(recado: Terminal, rows: Rows) -> None:
    ran = recado("doctor", RECADO_SECRET_KEYS=ANOTHER_KEY)
    assert ran.code == 1
    assert f"a secret of {ACCOUNT_SID} can't be decrypted" in ran.out
    both = recado("doctor", RECADO_SECRET_KEYS=f"{ANOTHER_KEY},{SECRET_KEYS}")
    assert "every stored secret can be decrypted" in both.out


def test_the_doctor_names_accounts_that_another_owner_could_prove_with_what_hangs_on_them(
    recado: Terminal, rows: Rows
) -> None:
    rows.conn.execute("UPDATE twilio_accounts SET proven_at = NULL")
    ran = recado("doctor", "--json")
    [found] = [one for one in json.loads(ran.out)["checks"] if one["name"] == "accounts" and one["state"] == "warn"]
    assert f"{ACCOUNT_SID} is unproven" in found["text"]
    assert f"{NUMBER} would not be answered" in found["text"]
    assert found["fix"].endswith(
        f"recado accounts add --owner {rows.owner} --account-sid {ACCOUNT_SID} --auth-token-stdin"
    )
    assert "unproven" in recado("accounts", "list").out
    rows.conn.execute("UPDATE twilio_accounts SET proven_at = now()")
    assert "is unproven" not in recado("doctor").out
    assert "unproven" not in recado("accounts", "list").out


def test_the_doctor_names_numbers_that_get_messages_by_another_channel_for_a_week(recado: Terminal, rows: Rows) -> None:
    assert "all messages of the last 7 days came by WhatsApp" in recado("doctor").out
    rows.inbound(status="held", held_for="channel")
    assert "by another channel" not in recado("doctor").out, "the number's own channel counts"
    rows.conn.execute("UPDATE numbers SET address = 'sms:+14155238886'")
    [check] = [one for one in json.loads(recado("doctor", "--json").out)["checks"] if one["name"] == "channels"]
    assert check["state"] == "warn"
    assert f"sms:+14155238886 of {ACCOUNT_SID} got 1 message by another channel" in check["text"]
    rows.conn.execute("UPDATE messages SET id = uuid_floor(now() - interval '8 days')")
    assert "all messages of the last 7 days came by WhatsApp" in recado("doctor").out


def test_the_doctor_reports_a_database_that_is_away_or_was_never_migrated(bare: Terminal, recado: Terminal) -> None:
    ran = bare("doctor")
    assert ran.code == 1
    assert "fail  database" in ran.out
    assert "Traceback" not in ran.out + ran.err
    url = recado.environment["RECADO_DATABASE_URL"]
    there = url.rpartition("/")[2].partition("?")[0]
    ran = bare("doctor", RECADO_DATABASE_URL=url.replace(f"/{there}", "/postgres"))
    assert ran.code == 1
    assert "`recado migrate`" in ran.out
    ran = bare("doctor", RECADO_DATABASE_URL="mysql://x")
    assert ran.code == 1
    assert "fail  settings       RECADO_DATABASE_URL: must start with postgresql://" in ran.out


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({}, "fail"),
        ({"trusted_proxies": "10.0.0.0/8"}, "warn"),
        ({"public_url": "https://my_host.example.com"}, "fail"),
        ({"public_url": "http://hooks.example.com"}, "warn"),
        ({"public_url": "http://127.0.0.1:8000"}, "warn"),
        ({"public_url": "http://127.0.0.1:8000", "twilio_api_url": "http://127.0.0.1:8900"}, "ok"),
        ({"public_url": "https://hooks.example.com/twilio"}, "ok"),
    ],
)
def test_the_public_url_must_be_one_that_twilio_can_call(settings: dict[str, str], state: str) -> None:
    findings: list[Finding] = examine_settings(load(_env_file=None, **settings))
    assert [finding.state for finding in findings if finding.name == "public url"] == [state]


def test_an_endpoint_that_takes_nothing_is_named_and_what_to_do(recado: Terminal, rows: Rows) -> None:
    add = ("webhooks", "add", "--owner", rows.owner, "--url", "https://crm.padaria.example/secret-path", "--json")
    failing, gone, well = [recado(*add).json["id"] for _ in range(3)]
    rows.conn.execute("UPDATE webhooks SET failing_since = now() - interval '2 hours' WHERE id = %s", [failing])
    rows.conn.execute("UPDATE webhooks SET status = 'disabled', disabled_why = 'gone' WHERE id = %s", [gone])
    checks = json.loads(recado("doctor", "--json").out)["checks"]
    told = {check["text"]: check["state"] for check in checks if check["name"] == "webhooks"}
    assert told == {
        f"{failing} has taken nothing for 2 hours; it is disabled after five days": "warn",
        f"{gone} is disabled: it answered 410 Gone": "warn",
    }
    assert well not in str(told)
    assert "secret-path" not in str(checks)


def test_an_erasure_that_left_something_or_is_late_is_named(recado: Terminal, rows: Rows) -> None:
    incomplete, late, done = (new_id() for _ in range(3))
    for erasure, status, due in ((incomplete, "incomplete", 0), (late, "twilio", 2), (done, "done", 9)):
        rows.conn.execute(
            "INSERT INTO erasures (owner_id, id, contact_ids, identity_hashes, status, requested_at, look_again_at) "
            "VALUES (%s, %s, ARRAY[gen_random_uuid()], '{}', %s, now(), now() - make_interval(hours => %s))",
            [rows.owner, erasure, status, due],
        )
    rows.conn.execute(
        "INSERT INTO erasure_items (owner_id, id, erasure_id, kind, what, status, look_again_at) "
        "VALUES (%s, %s, %s, 'message', 'SM', 'left', now())",
        [rows.owner, new_id(), incomplete],
    )
    checks = json.loads(recado("doctor", "--json").out)["checks"]
    assert {check["text"] for check in checks if check["name"] == "erasures"} == {
        f"{incomplete}: Twilio did not let go 1",
        f"{late} is due since 2 hours",
    }
