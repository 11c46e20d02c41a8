from __future__ import annotations

import hashlib
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator

from recado.channels.twilio.signature import canonical_url, is_signed, parse_form, parse_json, sign
from tests.channels.examples import EXAMPLES, fields

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"

forms = st.lists(st.tuples(st.text(max_size=12), st.text(max_size=30)), max_size=20)
tokens = st.text(min_size=1, max_size=40)
hosts = st.sampled_from(["a.example.com", "a.example.com:443", "a.example.com:80", "a.example.com:8443"])
urls = st.builds(
    "{}://{}{}".format, st.sampled_from(["http", "https"]), hosts, st.sampled_from(["", "/", "/x?y=1&z=%20"])
)


def form_of(params: list[tuple[str, str]]) -> bytes:
    return urlencode(params).encode()


def accepts(url: str, token: str, params: list[tuple[str, str]], signature: str, **more: str) -> bool:
    return is_signed(url, [token], signature, FORM, form_of(params), params, **more)


@pytest.mark.parametrize("example", [*EXAMPLES["inbound"].values(), *EXAMPLES["status"].values()])
def test_the_example_webhooks_are_signed(example: dict[str, Any]) -> None:
    params = fields(example["params"])
    url = EXAMPLES["inbound_url"] if ("SmsStatus", "received") in params else EXAMPLES["status_url"]
    assert parse_form(form_of(params)) == params
    assert accepts(url, EXAMPLES["token"], params, example["signature"])
    assert not accepts(url, EXAMPLES["token"], [*params, ("x", "")], example["signature"])
    assert not accepts(url + "&x=1", EXAMPLES["token"], params, example["signature"])
    assert not accepts(url, EXAMPLES["token"] + "x", params, example["signature"])


@pytest.mark.parametrize("case", EXAMPLES["signature_vectors"]["cases"])
def test_the_known_vectors_are_signed(case: dict[str, Any]) -> None:
    vectors = EXAMPLES["signature_vectors"]
    params = fields(case.get("params", vectors["params"]))
    assert accepts(case["url"], vectors["token"], params, case["signature"])


@given(forms, tokens, urls, st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]))
def test_it_agrees_with_the_official_validator_on_any_form(
    params: list[tuple[str, str]], token: str, url: str, algorithm: str
) -> None:
    official = RequestValidator(token)
    signature = official.compute_signature(url, MultiDict(params), algorithm)
    assert sign(url, token, params, algorithm=algorithm) == signature
    assert accepts(url, token, params, signature, algorithm=algorithm)


@given(forms, tokens, urls, urls, st.booleans())
def test_it_says_yes_exactly_when_the_official_validator_does(
    params: list[tuple[str, str]], token: str, signed: str, called: str, is_changed: bool
) -> None:
    signature = sign(signed, token, params)
    params = [*params, ("Body", "x")] if is_changed else params
    expected = RequestValidator(token).validate(called, MultiDict(params), signature)
    assert accepts(called, token, params, signature) == expected


@given(st.binary(max_size=300), st.text(max_size=60), st.text(max_size=30), st.text(max_size=80), st.text(max_size=20))
def test_no_garbage_makes_it_raise_or_say_yes(
    body: bytes, url: str, signature: str, content_type: str, token: str
) -> None:
    assert is_signed(url, [token], signature, content_type, body, []) is False
    assert is_signed(url + "?bodySHA256=" + signature, [token], signature, content_type, body, []) is False
    assert (
        is_signed("\ud800://" + url, ["\udfff" + token], signature + "\ud800", FORM, body, [("\ud800", "\ud801")])
        is False
    )


@pytest.mark.parametrize("signature", [None, "", " "])
def test_no_signature_is_no(signature: str | None) -> None:
    assert not is_signed(URL, [TOKEN], signature, FORM, b"", [])


def test_an_empty_token_lets_no_one_in() -> None:
    assert not is_signed(URL, [""], sign(URL, ""), FORM, b"", [])
    assert not is_signed(URL, [], sign(URL, TOKEN), FORM, b"", [])


def test_both_tokens_count_while_one_replaces_the_other() -> None:
    for token in ("old", "new"):
        assert is_signed(URL, ["new", "old"], sign(URL, token), FORM, b"", [])


def test_blank_and_repeated_and_untrimmed_values_count() -> None:
    params = [("Body", " oi "), ("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b"), ("Label", "")]
    signature = RequestValidator(TOKEN).compute_signature(URL, ImmutableMultiDict(params))
    assert accepts(URL, TOKEN, params, signature)
    assert not accepts(URL, TOKEN, [(name, value.strip()) for name, value in params], signature)
    assert not accepts(URL, TOKEN, list(dict(params).items()), signature)


def test_a_json_body_counts_through_its_hash_in_the_signed_url() -> None:
    body = b'{"a": 1}'
    url = f"{URL}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    assert RequestValidator(TOKEN).validate(url, body.decode(), sign(url, TOKEN))
    assert is_signed(url, [TOKEN], sign(url, TOKEN), JSON, body, [])
    assert not is_signed(url, [TOKEN], sign(url, TOKEN), JSON, body + b" ", [])
    assert not is_signed(url, [TOKEN], sign(URL, TOKEN), JSON, body, [])


def test_a_json_body_without_its_hash_is_no() -> None:
    assert not is_signed(URL, [TOKEN], sign(URL, TOKEN), JSON, b"{}", [])
    assert not is_signed(URL, [TOKEN], sign(URL, TOKEN), None, b"", [])


def test_a_signed_json_call_can_not_be_replayed_with_a_form() -> None:
    url = f"{URL}&bodySHA256={hashlib.sha256(b'{}').hexdigest()}"
    assert not is_signed(url, [TOKEN], sign(url, TOKEN), FORM, b"Body=x", [("Body", "x")])


def test_the_fragment_is_not_part_of_what_is_signed() -> None:
    assert is_signed(URL + "#rc=3&rp=ct", [TOKEN], sign(URL, TOKEN), FORM, b"", [])


def test_an_ipv6_host_and_credentials_keep_their_colons() -> None:
    for with_port, without in (
        ("https://[::1]:443/x", "https://[::1]/x"),
        ("https://user:pass@a.example.com:443/x", "https://user:pass@a.example.com/x"),
    ):
        assert is_signed(with_port, [TOKEN], sign(without, TOKEN), FORM, b"", [])
        assert is_signed(without, [TOKEN], sign(with_port, TOKEN), FORM, b"", [])


def test_an_algorithm_that_twilio_does_not_have_is_no() -> None:
    assert not accepts(URL, TOKEN, [], sign(URL, TOKEN), algorithm="none")


@given(forms)
def test_a_form_is_read_as_it_was_written(params: list[tuple[str, str]]) -> None:
    assert parse_form(form_of(params)) == params


@given(st.binary(max_size=200).filter(lambda body: b";" not in body))
def test_any_bytes_are_read_as_the_standard_library_reads_them_or_refused(body: bytes) -> None:
    try:
        read: list[tuple[str, str]] | None = parse_form(body)
    except ValueError:
        read = None
    try:
        expected = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        assert read is None
    else:
        assert read == expected


@pytest.mark.parametrize("body", [b"\xff", b"a=%FF", b"a=%ED%A0%80", b"&" * 500])
def test_a_form_that_is_not_utf8_or_too_long_is_refused_without_its_text(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(the form is not UTF-8|too many form fields)$") as caught:
        parse_form(body)
    assert caught.value.__context__ is None


def test_a_json_object_is_read_as_fields() -> None:
    body = '{"Body": "olá", "NumMedia": 0, "L": [1.50, "a"], "Forwarded": true, "x": null, "e": ""}'.encode()
    assert parse_json(body) == [
        ("Body", "olá"), ("NumMedia", "0"), ("L", "1.50"), ("L", "a"), ("Forwarded", "true"), ("e", ""),
    ]  # fmt: skip


@given(
    st.binary(max_size=60) | st.sampled_from([b"[]", b'"a"', b'{"a":{}}', b'{"a":[[]]}', b"[" * 50_000, b"1" * 9999])
)
def test_a_json_body_that_is_no_object_of_plain_values_is_refused(body: bytes) -> None:
    try:
        assert isinstance(parse_json(body), list)
    except ValueError:
        pass
    else:
        assert body.lstrip()[:1] == b"{"


def scope(path: str = "/hook", query: str = "", client: str = "10.0.0.7", **headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "scheme": "http",
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": (client, 4321),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("public_url", "path", "expected"),
    [
        ("https://bot.example.com", "/hook", "https://bot.example.com/hook?a=%2F+b"),
        ("https://bot.example.com/", "/hook", "https://bot.example.com/hook?a=%2F+b"),
        ("https://bot.example.com:8443", "/hook", "https://bot.example.com:8443/hook?a=%2F+b"),
        ("https://bot.example.com/wa", "/hook", "https://bot.example.com/wa/hook?a=%2F+b"),
        ("https://bot.example.com/wa/", "/wa/hook", "https://bot.example.com/wa/hook?a=%2F+b"),
        ("https://bot.example.com/wa", "/wanted", "https://bot.example.com/wa/wanted?a=%2F+b"),
        ("https://bot.example.com", "/h%C3%B3ok%2fx//y", "https://bot.example.com/h%C3%B3ok%2fx//y?a=%2F+b"),
    ],
)
def test_the_public_url_decides_and_path_and_query_stay_byte_for_byte(
    public_url: str, path: str, expected: str
) -> None:
    called = scope(path, "a=%2F+b", host="inside:8000", x_forwarded_host="evil.example.com")
    assert canonical_url(called, public_url=public_url, trusted_proxies=PROXIES) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_forwarded_proto": "https"}, "https://inside:8000/hook"),
        ({"x_forwarded_proto": "HTTPS, http", "x_forwarded_host": "a.example.com, b"}, "https://a.example.com/hook"),
        ({"x_forwarded_host": "a.example.com", "x_forwarded_port": "8443"}, "http://a.example.com:8443/hook"),
        ({"x_forwarded_host": "a.example.com:1", "x_forwarded_port": "8443"}, "http://a.example.com:1/hook"),
        ({"x_forwarded_host": "a.example.com", "x_forwarded_port": "80"}, "http://a.example.com/hook"),
        ({"x_forwarded_host": "a.example.com", "x_forwarded_port": "x"}, "http://a.example.com/hook"),
        ({"x_forwarded_host": "a.example.com", "x_forwarded_prefix": "/wa"}, "http://a.example.com/wa/hook"),
        ({"forwarded": 'for=1.2.3.4;Proto=https; host="a.example.com:81", for=x'}, "https://a.example.com:81/hook"),
        ({}, "http://inside:8000/hook"),
    ],
)
def test_a_trusted_proxy_tells_what_twilio_called(headers: dict[str, str], expected: str) -> None:
    called = scope(host="inside:8000", **headers)
    assert canonical_url(called, public_url=None, trusted_proxies=PROXIES) == expected


@pytest.mark.parametrize("client", ["192.0.2.1", "not-an-address", "fe80::1"])
def test_no_one_else_is_believed(client: str) -> None:
    called = scope(client=client, host="inside:8000", x_forwarded_host="evil.example.com", forwarded="host=evil")
    assert canonical_url(called, public_url=None, trusted_proxies=PROXIES) == "http://inside:8000/hook"
    assert canonical_url(called, public_url=None) == "http://inside:8000/hook"


def test_a_proxy_is_known_by_its_mapped_address_too() -> None:
    called = scope(client="::ffff:10.1.2.3", host="x", x_forwarded_proto="https")
    assert canonical_url(called, public_url=None, trusted_proxies=PROXIES) == "https://x/hook"


def test_a_server_without_raw_path_or_host_still_gives_a_url() -> None:
    called = {"scheme": "http", "path": "/olá mundo", "server": ("127.0.0.1", 8000), "client": None}
    assert canonical_url(called, public_url=None, trusted_proxies=PROXIES) == "http://127.0.0.1:8000/ol%C3%A1%20mundo"
