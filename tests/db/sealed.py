"""Secrets as versions before the present one sealed them: bound to their row, not to its owner."""

from __future__ import annotations

import base64
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recado.db.secrets import keyring


def in_old_form(key: str, secret: str, *, row: str) -> bytes:
    """The ciphertext under a key as it stands in RECADO_SECRET_KEYS."""
    nonce = os.urandom(12)
    cipher = AESGCM(base64.urlsafe_b64decode(key)).encrypt(nonce, secret.encode(), row.encode())
    return b"\x01" + bytes.fromhex(keyring([key]).ids[0]) + nonce + cipher
