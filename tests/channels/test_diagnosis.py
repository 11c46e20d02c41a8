"""`recado doctor signature`'s reasons: each known way in which a call is changed is told by its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from urllib.parse import urlencode

import pytest
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from recado.channels.twilio.diagnosis import Diagnosis, Token, diagnose
from recado.channels.twilio.signature import sign

URL = "https://hooks.example.com/channels/twilio/v1/webhooks/inbound"
ACCOUNT = "AC" + "1" * 32
OURS = Token(name="primary token of ours", text="token-of-ours")
NEXT = Token(name="secondary token of ours", text="token-to-come")
THEIRS = Token(name="primary token of theirs", text="token-of-theirs", own=False)
FIELDS = [
    ("AccountSid", ACCOUNT),
    ("Body", "1 + 1 = 2 "),
    ("From", "whatsapp:+5511987654321"),
    ("MessageSid", "SM" + "2" * 32),
    ("NumMedia", "0"),
    ("ProfileName", ""),
    ("SmsMessageSid", "SM" + "2" * 32),
    ("To", "whatsapp:+14155238886"),
    ("WaId", "5511987654321"),
]

Fields = Sequence[tuple[str, str]]


def signed(url: str = URL, token: Token = OURS, fields: Fields = FIELDS) -> str:
    """By the official validator, as Twilio would."""
    return str(RequestValidator(token.text).compute_signature(url, MultiDict(fields)))


def told(signature: str, *, url: str = URL, fields: Fields = FIELDS, public_urls: Sequence[str] = ()) -> Diagnosis:
    return diagnose(url, urlencode(fields).encode(), signature, [OURS, NEXT, THEIRS], public_urls=public_urls)


def test_a_signature_that_holds_is_said_to_hold_and_by_which_token() -> None:
    assert told(signed()) == Diagnosis(explained=True, token=OURS.name, causes=())
    assert told(signed(token=NEXT)) == Diagnosis(explained=True, token=NEXT.name, causes=())


def test_the_token_of_another_account_is_named() -> None:
    found = told(signed(token=THEIRS))
    assert (found.token, [cause.name for cause in found.causes]) == (THEIRS.name, ["account"])


@pytest.mark.parametrize(
    ("called", "seen", "name"),
    [
        (URL, URL.replace("https", "http"), "scheme"),
        (URL.replace(".com", ".com:8443"), URL, "port"),
        (URL, URL.replace(".com", ".com:8080"), "port"),
        (URL.replace("//hooks", "//other"), URL, "host"),
        (URL.replace("/channels", "/recado/channels"), URL, "path"),
        (URL, URL.replace("/channels", "/inner/channels"), "path"),
        (URL + "/", URL, "path"),
        (URL, URL + "?source=proxy", "query"),
        (URL + "?a=1", URL + "?a=1&source=proxy", "query"),
        (URL + "?a=x%20y", URL + "?a=x+y", "query"),
    ],
)
def test_a_url_that_was_changed_on_the_way_is_told_by_what_was_changed(called: str, seen: str, name: str) -> None:
    known = ["https://other.example.com", "https://hooks.example.com/recado"]
    found = told(signed(called), url=seen, public_urls=known)
    # A port that is not the scheme's own is no cause: the check itself tries the URL without it.
    holds = name == "port" and called == URL
    assert (found.explained, [cause.name for cause in found.causes]) == (True, [] if holds else [name])


def changed(name: str, value: str) -> list[tuple[str, str]]:
    return [(field, value if field == name else text) for field, text in FIELDS]


@pytest.mark.parametrize(
    ("arrived", "word"),
    [
        ([(name, value.replace(":+", ": ")) for name, value in FIELDS], "became a space"),
        (changed("Body", "1 + 1 = 2"), "trimmed"),
        (changed("Body", "1+%2B+1+%3D+2+"), None),
        ([*FIELDS, ("debug", "1")], "debug was added"),
        ([field for field in FIELDS if field[0] != "ProfileName"], "ProfileName (blank) was dropped"),
        ([field for field in FIELDS if field[0] not in ("WaId", "NumMedia")], "was dropped"),
    ],
)
def test_a_body_that_was_written_anew_is_told_by_how(arrived: Fields, word: str | None) -> None:
    found = told(signed(), fields=arrived)
    if word is None:
        assert found == Diagnosis(explained=False, token=None, causes=())
        return
    assert (found.explained, [cause.name for cause in found.causes]) == (True, ["body"])
    assert word in found.causes[0].text


def test_a_form_that_was_percent_encoded_twice_is_told() -> None:
    body = urlencode([(name, urlencode({"": value})[1:].replace("+", "%20")) for name, value in FIELDS]).encode()
    found = diagnose(URL, body, signed(), [OURS])
    assert [cause.text for cause in found.causes] == ["percent-encoded twice"]


def test_parameters_that_were_not_sorted_are_somebody_elses_signature() -> None:
    shuffled = list(reversed(FIELDS))
    text = URL + "".join(name + value for name, value in shuffled)
    found = told(sign(text, OURS.text), fields=shuffled)
    assert "did not sort" in found.causes[0].text


def test_two_causes_at_once_are_both_told() -> None:
    found = told(signed(), url=URL.replace("https", "http"), fields=changed("Body", "1 + 1 = 2"))
    assert {cause.name for cause in found.causes} == {"scheme", "body"}


def test_a_signature_that_was_changed_itself_is_told() -> None:
    found = told(signed().replace("=", "%3D"))
    assert [cause.name for cause in found.causes] == ["signature"]


@pytest.mark.parametrize(("arrived", "how"), [(b'{"Body": "Oi"}', "written anew"), (b'{"Body":"Oi"}\n', "white space")])
def test_json_that_is_not_what_its_hash_says_is_told(arrived: bytes, how: str) -> None:
    sent = json.dumps({"Body": "Oi"}, separators=(",", ":")).encode()
    url = f"{URL}?bodySHA256={hashlib.sha256(sent).hexdigest()}"
    found = diagnose(url, arrived, sign(url, OURS.text), [OURS], content_type="application/json")
    assert found.explained
    assert how in found.causes[0].text


def test_what_nothing_explains_is_not_explained_within_seconds() -> None:
    assert told("A" * 27 + "=") == Diagnosis(explained=False, token=None, causes=())


def test_no_token_is_shown() -> None:
    assert "token-of" not in repr([OURS, THEIRS]) + repr(told(signed(token=THEIRS)))
