"""receive: only what an account's token signed comes in, and whatever else comes learns nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recado.channels.twilio import accounts
from recado.db.scope import scoped
from tests.channels.examples import EXAMPLES, fields, inbound
from tests.journey.front import ACCOUNT_SID, NUMBER, PUBLIC_URL, TOKEN, Front, message_sid, open_front, signature_of
from tests.product import INBOUND, OUTBOUND, establish

EMPTY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


@pytest.fixture
async def front(front_url: str, tmp_path: Path) -> AsyncIterator[Front]:
    async with open_front(front_url, tmp_path) as opened:
        yield opened


def text(**changes: str | None) -> list[tuple[str, str]]:
    """A new message of the examples' contact."""
    return inbound("text", **{"MessageSid": message_sid(), **changes})


async def test_every_example_of_twilios_is_taken_and_answered_with_an_empty_response(front: Front) -> None:
    for example in EXAMPLES["inbound"].values():
        answer = await front.post(fields(example["params"]))
        assert (answer.status_code, answer.text) == (200, EMPTY)
        assert answer.headers["content-type"].startswith("text/xml")
    stored = {row["provider_sid"]: row for row in front.stored()}
    for example in EXAMPLES["inbound"].values():
        kept = stored[example["params"]["MessageSid"]]
        assert kept["parameters"] == {name: [value] for name, value in example["params"].items()}


async def test_the_examples_own_signatures_open_the_door_at_the_url_that_they_were_made_for(
    front_url: str, tmp_path: Path
) -> None:
    # The examples were signed for another path; a proxy that rewrites /v1/twilio/inbound to ours is what PUBLIC_URL
    # can't tell, so the path is put where the signature is checked: into the request's raw path.
    async with open_front(front_url, tmp_path) as front:
        for example in EXAMPLES["inbound"].values():
            url = EXAMPLES["inbound_url"]
            assert signature_of(url, TOKEN, fields(example["params"])) == example["signature"]

            async def rewritten(scope: Any, receive: Any, send: Any) -> None:
                if scope["type"] == "http":
                    scope = {**scope, "path": INBOUND}
                await front.app(scope, receive, send)

            transport = httpx2.ASGITransport(rewritten)
            async with httpx2.AsyncClient(transport=transport, base_url="http://internal") as http:
                answer = await http.post(
                    "/v1/twilio/inbound?tenant=acme",
                    data=example["params"],
                    headers={"X-Twilio-Signature": example["signature"]},
                )
            assert answer.status_code == 200
        assert len(front.stored()) == len(EXAMPLES["inbound"])


async def test_every_refusal_of_a_caller_looks_the_same_and_stores_nothing(front: Front) -> None:
    other_sid, other_token = "AC" + secrets.token_hex(16), secrets.token_hex(16)
    await establish(front.wiring, other_sid, other_token, "whatsapp:+14155550001")
    message = text()
    right = signature_of(PUBLIC_URL + INBOUND, TOKEN, message)
    tampered = [(name, value + "!" if name == "Body" else value) for name, value in message]
    answers = {
        "a wrong token": await front.post(message, token="wrong"),
        "another owner's token": await front.post(message, token=other_token),
        "no signature": await front.post(message, token=None),
        "an empty signature": await front.post(message, headers={"X-Twilio-Signature": ""}),
        "a signature that is not one": await front.post(message, headers={"X-Twilio-Signature": "é".encode().hex()}),
        "a tampered body": await front.post(tampered, headers={"X-Twilio-Signature": right}),
        "one more parameter": await front.post([*message, ("X", "y")], headers={"X-Twilio-Signature": right}),
        "another path": await front.post(message, url=PUBLIC_URL + "/elsewhere"),
        "another host": await front.post(message, url="https://evil.example.com" + INBOUND),
        "a query that was not signed": await front.post(message, path=INBOUND + "?a=1", url=PUBLIC_URL + INBOUND),
        "an unknown account": await front.post(text(AccountSid="AC" + "f" * 32)),
        "no account": await front.post(text(AccountSid=None)),
        "a malformed account": await front.post(text(AccountSid="AC'; DROP TABLE owners")),
        "JSON without a hash": await front.post(
            content=json.dumps(dict(message)).encode(), headers={"Content-Type": "application/json"}
        ),
        "a status callback with a wrong token": await front.post(message, path=OUTBOUND, token="wrong"),
    }
    looks = {
        name: (answer.status_code, answer.text, sorted(answer.headers.items())) for name, answer in answers.items()
    }
    assert {status for status, _, _ in looks.values()} == {403}
    assert len({str(look) for look in looks.values()}) == 1, looks
    problem = answers["a wrong token"]
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json() == {"type": "about:blank", "title": "Forbidden", "status": 403}
    assert front.stored() == []
    assert front.rows("SELECT FROM contacts") == []


async def test_the_environment_opens_no_back_door(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENVIRONMENT", "RECADO_ENVIRONMENT", "RECADO_ENV", "ENV", "APP_ENV", "DEBUG", "RECADO_DEBUG"):
        monkeypatch.setenv(name, "development")
    monkeypatch.setenv("DEBUG", "true")
    for headers in ({}, {"X-API-Key": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, {"Host": "localhost"}):
        for token in (None, "wrong"):
            assert (await front.post(text(), token=token, headers=headers)).status_code == 403


async def test_the_second_token_counts_during_a_rotation_and_the_first_no_more_after_it(
    front_url: str, tmp_path: Path
) -> None:
    async with open_front(front_url, tmp_path) as front:

        async def rotate(token: str | None) -> None:
            async with scoped(front.wiring.pool, front.owner_id) as scope:
                await accounts.rotate_token(scope, front.wiring.keyring, account_sid=ACCOUNT_SID, auth_token=token)

        await rotate("the second token")
        assert (await front.post(text(), token=TOKEN)).status_code == 200
        assert (await front.post(text(), token="the second token")).status_code == 200
        await rotate(None)
    # Another process, whose look-ups are not older than the rotation.
    async with open_front(front_url, tmp_path, found=False) as front:
        assert (await front.post(text(), token="the second token")).status_code == 200
        assert (await front.post(text(), token=TOKEN)).status_code == 403


async def test_repeated_blank_and_untrimmed_parameters_are_kept_and_count(front: Front) -> None:
    message = [*text(Body="  oi \n"), ("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b"), ("Label", "")]
    assert (await front.post(message)).status_code == 200
    (stored,) = front.stored()
    assert stored["parameters"]["MediaUrl"] == ["b", "a", "b"]
    assert stored["parameters"]["Label"] == [""]
    assert stored["body"] == "  oi \n"


@pytest.mark.parametrize("query", ["?tenant=a%20b%2Fc&x=%C3%A9", "?a=b+c", "?next=http://x/?y=1", "?%41=1&&b", "?a=1#"])
async def test_the_query_counts_byte_for_byte_as_it_was_called(front: Front, query: str) -> None:
    called = INBOUND + query.rstrip("#")
    assert (await front.post(text(), path=called)).status_code == 200


async def test_the_path_counts_in_the_encoding_in_which_it_was_called(front: Front) -> None:
    encoded = INBOUND.replace("inbound", "%69nbound")
    assert (await front.post(text(), path=encoded)).status_code == 200
    assert (await front.post(text(), path=encoded, url=PUBLIC_URL + INBOUND)).status_code == 403


async def test_a_json_body_counts_through_the_hash_in_the_signed_url(front: Front) -> None:
    body = json.dumps(dict(text(Body="Olá")), ensure_ascii=False).encode()
    path = f"{INBOUND}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = {"Content-Type": "application/json"}
    assert (await front.post(path=path, content=body, headers=headers)).status_code == 200
    assert [row["body"] for row in front.stored()] == ["Olá"]
    assert (await front.post(path=path, content=body + b" ", headers=headers)).status_code == 403


async def test_more_than_256_kib_is_413_whether_it_was_announced_or_not(front: Front) -> None:
    taken_from_stream = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal taken_from_stream
        for _ in range(64):
            taken_from_stream += 1
            yield b"Body=" + b"x" * 16 * 1024

    assert (await front.post(content=b"Body=" + b"x" * 256 * 1024)).status_code == 413
    assert (await front.post(content=stream())).status_code == 413
    assert taken_from_stream <= 20, "it was read to its end"
    assert (await front.post(content=b"", headers={"Content-Length": str(2**40)})).status_code == 413
    assert (await front.post(text(Body="x" * 250 * 1024))).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "", "multipart/form-data; boundary=x", "application/xml"])
async def test_what_is_neither_form_nor_json_is_415(front: Front, content_type: str) -> None:
    answer = await front.post(text(), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"Body=\xff\xfe", "application/x-www-form-urlencoded"),
        (b"Body=%FF%FE", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=1"] * 501), "application/x-www-form-urlencoded"),
        (b"{", "application/json"),
        (b"[1, 2]", "application/json"),
        (b'{"a": {"b": 1}}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'"\xff"', "application/json"),
    ],
)
async def test_what_can_not_be_read_is_400(front: Front, content: bytes, content_type: str) -> None:
    answer = await front.post(content=content, headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert answer.json() == {"type": "about:blank", "title": "Bad request", "status": 400}


@pytest.mark.parametrize(
    "changes",
    [
        {"MessageSid": None, "SmsMessageSid": None, "SmsSid": None},
        {"MessageSid": "nonsense"},
        {"From": None},
        {"To": ""},
        {"From": "whatsapp:+" + "9" * 300},
        {"SmsStatus": "delivered"},
    ],
)
async def test_a_signed_message_that_can_not_be_kept_is_400_and_nothing_of_it_is_stored(
    front: Front, changes: dict[str, str | None]
) -> None:
    assert (await front.post(text(**changes))).status_code == 400
    assert front.stored() == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_nothing_but_a_post_is_taken(front: Front, method: str) -> None:
    assert (await front.post(content=b"", method=method)).status_code == 405


async def test_without_a_public_url_only_trusted_proxies_say_where_twilio_called(
    front_url: str, tmp_path: Path
) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hooks.example.com"}
    async with open_front(front_url, tmp_path, public_url=None, trusted_proxies="10.0.0.0/8, ::1") as front:
        message = text()
        behind = await front.post(message, headers=forwarded, client="10.1.2.3")
        liar = await front.post(message, headers=forwarded, client="203.0.113.7")
        direct = await front.post(message, client="203.0.113.7", url="http://internal:8080" + INBOUND)
        other = await front.post(
            message, headers={**forwarded, "X-Forwarded-Host": "evil.example.com"}, client="10.1.2.3"
        )
    assert [answer.status_code for answer in (behind, liar, direct, other)] == [200, 403, 200, 403]


async def test_with_a_public_url_no_header_changes_where_twilio_called(front: Front) -> None:
    headers = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example.com", "Host": "evil.example.com"}
    assert (await front.post(text(), headers=headers)).status_code == 200
    assert (await front.post(text(), headers=headers, url="http://evil.example.com" + INBOUND)).status_code == 403


async def test_what_no_database_can_store_is_taken_out_and_the_rest_is_kept(front: Front) -> None:
    message = text(Body="a\0b", ProfileName="Ana\0")
    assert (await front.post(message)).status_code == 200
    (stored,) = front.stored()
    assert stored["body"] == "ab"


async def test_nothing_of_a_caller_is_echoed(front: Front) -> None:
    secret = "tell-nobody-" + secrets.token_hex(4)
    answers = [
        await front.post(text(Body=secret), token="wrong"),
        await front.post(text(MessageSid=secret)),
        await front.post(content=secret.encode(), headers={"Content-Type": secret}),
        await front.post(content=f"{{{secret}".encode(), headers={"Content-Type": "application/json"}),
        await front.post(text(), path=f"/{secret}"),
    ]
    assert [answer.status_code for answer in answers] == [403, 400, 415, 400, 404]
    assert all(secret not in answer.text + str(answer.headers) for answer in answers)


headers = st.dictionaries(
    st.sampled_from(
        [b"content-type", b"content-length", b"x-twilio-signature", b"host", b"transfer-encoding", b"x-forwarded-host"]
    ),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"application/x-www-form-urlencoded", b"application/json", b"-1", b"9" * 30, b"chunked"]),
    ),
)
bodies = st.one_of(
    st.binary(max_size=300),
    st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=6).map(lambda form: json.dumps(form).encode()),
    st.lists(st.binary(max_size=20), max_size=8).map(
        lambda items: f"AccountSid={ACCOUNT_SID}&".encode() + b"&".join(items)
    ),
)


@pytest.mark.parametrize("path", [INBOUND, OUTBOUND])
async def test_no_garbage_from_strangers_is_ever_answered_with_a_500(front: Front, path: str) -> None:
    async def call(sent: dict[bytes, bytes], body: bytes, query: bytes) -> int:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": list(sent.items()),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        answers: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(event: Any) -> None:
            answers.append(event)

        await front.app(scope, receive, send)
        return int(answers[0]["status"])

    calls: list[tuple[dict[bytes, bytes], bytes, bytes]] = []

    @settings(max_examples=150, deadline=None, database=None)
    @given(headers, bodies, st.binary(max_size=60))
    def collect(sent: dict[bytes, bytes], body: bytes, query: bytes) -> None:
        calls.append((sent, body, query))

    await asyncio.to_thread(collect)
    for sent, body, query in calls:
        assert await call(sent, body, query) in (400, 403, 413, 415), (sent, body, query)
    assert front.stored() == []


#: What a form can hold once it is signed: an account's own words are no more to be trusted than a stranger's.
awkward = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["", "\0", "\ud800", "9" * 20, "-1", "1e400", "NaN", "{}", "\u202e", "' OR 1=1 --", "x" * 5000]),
)
NAMES = """
    Body From To MessageSid SmsStatus MessageStatus ErrorCode ProfileName WaId NumMedia MediaUrl0
    MediaContentType0 MessageType Latitude Longitude ButtonText ButtonPayload ListId ChannelMetadata
    EventType MessagingServiceSid OriginalRepliedMessageSid
"""
names = st.sampled_from(NAMES.split())


@pytest.mark.parametrize("path", [INBOUND, OUTBOUND])
async def test_no_garbage_that_an_account_signed_is_ever_answered_with_a_500(front: Front, path: str) -> None:
    calls: list[tuple[dict[str, str], str]] = []
    queries = st.one_of(
        st.sampled_from(["message=1", "message=%00", "part=99999999999", "part=-1"]),
        st.tuples(st.uuids(), st.one_of(st.integers(), st.text("0123456789-٣", max_size=8))).map(
            lambda named: f"message={named[0]}&part={named[1]}"
        ),
    )

    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(names, awkward, max_size=4), queries)
    def collect(changes: dict[str, str], query: str) -> None:
        calls.append((changes, query))

    await asyncio.to_thread(collect)
    status = {"SmsStatus": None, "MessageStatus": "sent"} if path == OUTBOUND else {}

    async def try_one(changes: dict[str, str], query: str) -> None:
        clean = {name: value.encode("utf-8", "replace").decode() for name, value in changes.items()}
        message = text(**{**status, **clean})
        called = f"{path}?{query.encode('ascii', 'ignore').decode()}"
        answer = await front.post(message, path=called)
        assert answer.status_code in (200, 400), (changes, query)

    for start in range(0, len(calls), 8):
        await asyncio.gather(*(try_one(*each) for each in calls[start : start + 8]))


async def test_what_one_owner_receives_another_can_not_see(front: Front) -> None:
    await front.post(text())
    assert len(front.stored()) == 1
    other = await establish(front.wiring, "AC" + secrets.token_hex(16), "token", "whatsapp:+14155550009")
    async with scoped(front.wiring.pool, other) as scope:
        assert await (await scope.conn.execute("SELECT * FROM messages")).fetchall() == []


async def test_the_number_that_was_written_to_is_found_in_the_account_that_signed(front: Front) -> None:
    other_sid = "AC" + secrets.token_hex(16)
    other = await establish(front.wiring, other_sid, "other token", NUMBER)
    assert (await front.post(text(AccountSid=other_sid), token="other token")).status_code == 200
    assert {row["owner_id"] for row in front.stored()} == {other}
