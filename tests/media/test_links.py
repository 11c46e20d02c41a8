"""Links: nobody makes, changes or outlives one, and none tells what it leads to."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recado.db.secrets import Keyring, keyring, new_key
from recado.errors import NotFound
from recado.media import links

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEYS = [new_key(), new_key()]
OWNER, MEDIA = uuid4(), uuid4()


def made(ring: Keyring, lasts: timedelta = timedelta(minutes=5)) -> str:
    return links.sign(ring, OWNER, MEDIA, expires_at=NOW + lasts)


def test_a_link_names_its_owner_and_attachment_until_it_ends() -> None:
    ring = keyring(KEYS)
    assert links.read(ring, made(ring), now=NOW) == (OWNER, MEDIA)
    assert links.read(ring, made(ring), now=NOW + timedelta(minutes=4, seconds=59)) == (OWNER, MEDIA)
    for late in (timedelta(minutes=5), timedelta(days=400)):
        with pytest.raises(NotFound):
            links.read(ring, made(ring), now=NOW + late)


def test_links_outlive_a_new_key_and_end_with_their_own() -> None:
    token = made(keyring(KEYS[:1]))
    assert links.read(keyring([new_key(), *KEYS[:1]]), token, now=NOW) == (OWNER, MEDIA)
    with pytest.raises(NotFound):
        links.read(keyring([new_key()]), token, now=NOW)


def test_a_link_is_of_url_letters_and_shows_no_id() -> None:
    token = made(keyring(KEYS))
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for known in (OWNER, MEDIA):
        assert known.bytes not in sealed
        assert known.hex not in token
    assert links.link("https://hooks.example.com/", token) == f"https://hooks.example.com/media/{token}"


def test_another_sealed_secret_is_no_link() -> None:
    ring = keyring(KEYS)
    named = OWNER.bytes + MEDIA.bytes + (2**40).to_bytes(8, "big")
    other = ring.seal(base64.b85encode(named).decode(), owner_id=OWNER, row=f"twilio_accounts/{OWNER}/auth_token")
    with pytest.raises(NotFound):
        links.read(ring, base64.urlsafe_b64encode(other).decode().rstrip("="), now=NOW)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_link_opens_anything(position: int, change: int) -> None:
    ring = keyring(KEYS)
    token = made(ring)
    sealed = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    sealed[position % len(sealed)] ^= change
    with pytest.raises(NotFound):
        links.read(ring, base64.urlsafe_b64encode(bytes(sealed)).decode().rstrip("="), now=NOW)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_opens_anything(text: str) -> None:
    with pytest.raises(NotFound):
        links.read(keyring(KEYS), text, now=NOW)
