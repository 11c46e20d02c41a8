"""Addresses as Twilio writes them, and the one key by which a person is known.

Forms: `whatsapp:+5511987654321`; the prefix or the plus sign is sometimes missing; `whatsapp:US.13491208655302741918`
is a business-scoped id, a person without a phone number.
"""

from __future__ import annotations

import re

#: A person's address as we take it from the owner's side: exactly Twilio's own form.
PERSON = r"^whatsapp:(\+[1-9][0-9]{6,14}|[A-Z]{2}\.[0-9A-Za-z.]{1,128})$"

_PREFIX = re.compile(r"(?i)^\s*whatsapp:")
_PHONE = re.compile(r"\+?([0-9]{5,20})")
_SCOPED_ID = re.compile(r"[A-Za-z]{2}\.[0-9A-Za-z.]{1,128}")
# Mobile numbers begin with 6 to 9, landlines (which WhatsApp Business takes too) with 2 to 5.
_BRAZIL_WITHOUT_NINTH_DIGIT = re.compile(r"55([1-9][0-9])([6-9][0-9]{7})")
_MEXICO_WITH_ONE = re.compile(r"521([0-9]{10})")
_ARGENTINA_WITH_NINE = re.compile(r"549([0-9]{10})")


def canonical_address(address: str) -> str:
    """The address in Twilio's own form: `whatsapp:+DIGITS`, or `whatsapp:` and the id. For looking numbers up.

    What is neither a phone number nor a business-scoped id (another channel's address) comes back trimmed.
    """
    bare = _PREFIX.sub("", address).strip()
    if phone := _PHONE.fullmatch(bare):
        return f"whatsapp:+{phone[1]}"
    if _SCOPED_ID.fullmatch(bare):
        return f"whatsapp:{bare}"
    return address.strip()


def is_scoped_id(address: str) -> bool:
    """Whether this canonical address is a business-scoped id: a person whose telephone number is not told."""
    return bool(_SCOPED_ID.fullmatch(address.removeprefix("whatsapp:")))


def identity_key(address: str) -> str:
    """One key for all forms of a person's address; never an address to send to.

    Some countries have two forms of a mobile number, and WhatsApp gives one or the other: Brazil with and without
    the ninth digit (the key has it), Mexico +521 and +52, Argentina +549 and +54 (the key is without).
    """
    canonical = canonical_address(address)
    digits = canonical.removeprefix("whatsapp:+")
    if digits == canonical:
        return canonical
    if found := _BRAZIL_WITHOUT_NINTH_DIGIT.fullmatch(digits):
        digits = f"55{found[1]}9{found[2]}"
    elif found := _MEXICO_WITH_ONE.fullmatch(digits):
        digits = f"52{found[1]}"
    elif found := _ARGENTINA_WITH_NINE.fullmatch(digits):
        digits = f"54{found[1]}"
    return f"whatsapp:+{digits}"
