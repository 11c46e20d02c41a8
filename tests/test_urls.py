"""urls: an address that somebody set is cleaned to the one form in which it is signed, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.channels.twilio.signature import canonical_url, is_signed, sign
from recado.ops.doctor import INBOUND_PATH, RETRY_FRAGMENT, examine_settings
from recado.settings import load
from recado.urls import canonical_base

FORMS = {
    "https://hooks.example.com": "https://hooks.example.com",
    " https://hooks.example.com \n": "https://hooks.example.com",
    "\u00a0https://hooks.example.com\u200b": "https://hooks.example.com",
    "HTTPS://Hooks.Example.COM/": "https://hooks.example.com",
    "https://hooks.example.com:443//": "https://hooks.example.com",
    "http://hooks.example.com:80": "http://hooks.example.com",
    "https://hooks.example.com:8443/wa/": "https://hooks.example.com:8443/wa",
    "https://hooks.example.com.": "https://hooks.example.com",
    "https://padária.example.com": "https://xn--padria-rta.example.com",
    "https://PADÁRIA.example.com": "https://xn--padria-rta.example.com",
    "https://pada\u0301ria.example.com": "https://xn--padria-rta.example.com",
    "https://straße.example": "https://xn--strae-oqa.example",
    "https://例え。テスト": "https://xn--r8jz45g.xn--zckzah",
    "https://hooks.example.com/olá": "https://hooks.example.com/ol%C3%A1",
    "http://127.0.0.1:8000/": "http://127.0.0.1:8000",
    "http://[0:0::1]:8000": "http://[::1]:8000",
    "http://my_host.example.com": "http://my_host.example.com",
}
REFUSED = [
    "hooks.example.com",
    "ftp://hooks.example.com",
    "http:",
    "https:///path",
    "https://hooks example.com",
    "https://hooks.example.com/a b",
    "https://hooks.example.com?a=1",
    "https://hooks.example.com?",
    "https://hooks.example.com#rc=3&rp=ct",
    "https://hooks.example.com#",
    "https://ana:secret@hooks.example.com",
    "https://@hooks.example.com",
    "https://hooks.example.com:99999",
    "https://hooks.example.com:0",
    "https://hooks.example.com:port",
    "https://hooks..example.com",
    "https://-x\u200d.example.com",
    "https://" + "a" * 64 + ".example.com",
    "https://[::1",
    "https://[fe80::zz]",
    "https://hooks.example.com\\@evil.example",
    "https://ex\u0000ample.com",
]


@pytest.mark.parametrize("given_form", FORMS)
def test_a_public_url_in_any_form_is_the_one_that_signatures_are_checked_over(given_form: str) -> None:
    settings = load(public_url=given_form)
    assert settings.public_url == canonical_base(given_form) == FORMS[given_form]
    # What the doctor says to paste is what Twilio then calls and signs.
    pasted = next(
        (one.text.rpartition(" ")[2] for one in examine_settings(settings) if one.name == "webhook"),
        f"{FORMS[given_form]}{INBOUND_PATH}{RETRY_FRAGMENT}",
    )
    called = pasted.partition("#")[0]
    prefix = called.partition("://")[2].partition("/")[2].partition("channels")[0]
    scope = {"raw_path": f"/{prefix}channels{INBOUND_PATH.partition('channels')[2]}".encode()}
    signature = sign(called, "token", [("Body", "Oi")])
    url = canonical_url(scope, public_url=settings.public_url)
    form = "application/x-www-form-urlencoded"
    assert is_signed(url, ["token"], signature, form, b"Body=Oi", [("Body", "Oi")])
    # An account's that was stored before it was cleaned so.
    assert canonical_url(scope, public_url=given_form) == url


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_no_address_is_refused_and_not_repeated(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as refused:
        canonical_base(wrong)
    assert wrong in ("http:", "https:///path") or wrong not in str(refused.value)


@given(st.text(max_size=40).map("https://".__add__) | st.from_regex(r"https?://[a-zA-Zé.:/\-\[\]]{1,30}"))
def test_it_is_refused_or_has_one_form(text: str) -> None:
    try:
        once = canonical_base(text)
    except ValueError:
        return
    assert canonical_base(once) == once
    assert once.isascii()
    assert not once.endswith("/")


@pytest.mark.parametrize("name", ["twilio_api_url", "twilio_messaging_url", "twilio_content_url"])
def test_every_other_address_of_a_server_is_cleaned_alike(name: str) -> None:
    assert getattr(load(**{name: " HTTP://LocalHost:8900/ "}), name) == "http://localhost:8900"


def test_blanks_around_any_setting_are_no_part_of_it() -> None:
    settings = load(
        database_url=" postgresql://localhost/recado\n",
        rate_limit_storage=" redis://localhost:6379/0 ",
        media_url="s3://bucket/prefix \n",
        model=" openai:gpt-5-mini ",
        transcriber="none ",
        public_url=" ",
    )
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://localhost/recado"
    assert settings.rate_limit_storage.get_secret_value() == "redis://localhost:6379/0"
    assert (settings.media_url, settings.model, settings.public_url) == (
        "s3://bucket/prefix",
        "openai:gpt-5-mini",
        None,
    )
