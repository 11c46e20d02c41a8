"""Addresses as Twilio writes them, the channel that each is of, and the one key by which a person is known.

Forms: `whatsapp:+5511987654321`; the prefix or the plus sign is sometimes missing, or came as a blank (a form's `+`);
`whatsapp:US.13491208655302741918` is a business-scoped id, a person without a phone number. A telephone number without
a prefix is an SMS's too: what else the webhook says tells which (`parse`).
"""

from __future__ import annotations

import re
import unicodedata

WHATSAPP = "whatsapp"
SMS = "sms"
VOICE = "voice"

#: A person's address as we take it from the owner's side: exactly Twilio's own form.
PERSON = r"^whatsapp:(\+[1-9][0-9]{6,14}|[A-Z]{2}\.[0-9A-Za-z.]{1,128})$"

_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9.-]{0,31})[ ]?:")
_PHONE = re.compile(r"\+?([0-9]{5,20})")
# What people and address books put between the digits. A slash or a letter is no part of a number.
_BETWEEN = re.compile(r"[ ().\-\u2010-\u2015\u2212]+")
_SCOPED_ID = re.compile(r"[A-Za-z]{2}\.[0-9A-Za-z.]{1,128}")
# Mobile numbers begin with 6 to 9, landlines (which WhatsApp Business takes too) with 2 to 5.
_BRAZIL = re.compile(r"55([1-9][0-9])9?([6-9][0-9]{7})")
_MEXICO = re.compile(r"521?([0-9]{10})")
_ARGENTINA = re.compile(r"549?([0-9]{10})")


def canonical_address(address: str) -> str:
    """The address in Twilio's own form: `whatsapp:+DIGITS`, or `whatsapp:` and the id. What is sent to, and looked up.

    For what is known to be WhatsApp's: without a prefix it is taken for that. Blanks and punctuation between the
    digits, digits of other scripts, invisible characters and the prefix's case don't matter. Another channel's address
    keeps its channel, in lower case, and what is no address at all comes back trimmed.
    """
    text = _plain(address)
    channel = _prefix(text)
    if channel not in (None, WHATSAPP):
        return _of_channel(text)
    bare = text if channel is None else text.partition(":")[2].strip()
    if phone := _digits(bare):
        return f"whatsapp:+{phone}"
    if _SCOPED_ID.fullmatch(bare):
        return f"whatsapp:{bare}"
    return text if channel is None else f"whatsapp:{bare}"


def given_address(address: str) -> str:
    """What somebody gave as a WhatsApp address, in canonical form; unchanged where they did not say that it is one."""
    return canonical_address(address) if channel_of(address) == WHATSAPP else address


def channel_of(address: str) -> str | None:
    """The channel that the address itself names, as a word in lower case; None where it names none."""
    return _prefix(_plain(address))


def other_channels_address(address: str, channel: str) -> str:
    """The address with the channel that it is of, which is not WhatsApp, named in it.

    A telephone number is never stored or looked up without: nothing would tell it from a WhatsApp address then.
    """
    text = _plain(address)
    named = _prefix(text)
    if named == channel:
        return _of_channel(text)
    return _of_channel(f"{channel}:{text.partition(':')[2] if named == WHATSAPP else text}")


def is_whatsapp(address: str) -> bool:
    """Whether this canonical address is one that WhatsApp can bring something to."""
    return channel_of(address) in (None, WHATSAPP)


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
    return canonical if digits == canonical else f"whatsapp:+{_forms(digits)[0]}"


def forms_of(address: str) -> tuple[str, ...]:
    """The canonical addresses under which Twilio may list what was sent to this one; the address itself first."""
    canonical = canonical_address(address)
    digits = canonical.removeprefix("whatsapp:+")
    if digits == canonical:
        return (canonical,)
    others = (f"whatsapp:+{form}" for form in _forms(digits) if form != digits)
    return (canonical, *others)


def _forms(digits: str) -> tuple[str, ...]:
    """All forms of a telephone number, the one that is the key first."""
    if found := _BRAZIL.fullmatch(digits):
        return f"55{found[1]}9{found[2]}", f"55{found[1]}{found[2]}"
    if found := _MEXICO.fullmatch(digits):
        return f"52{found[1]}", f"521{found[1]}"
    if found := _ARGENTINA.fullmatch(digits):
        return f"54{found[1]}", f"549{found[1]}"
    return (digits,)


def _plain(text: str) -> str:
    """The text in ASCII's forms of digits, letters, plus, colon and blanks, without invisible characters, trimmed."""
    if not (text.isascii() and text.isprintable()):
        kept = (character for character in text if unicodedata.category(character) != "Cf")
        text = "".join(map(_plain_character, unicodedata.normalize("NFKC", "".join(kept))))
    return text.strip()


def _plain_character(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return " "
    return str(unicodedata.decimal(character)) if character.isdecimal() else character


def _prefix(text: str) -> str | None:
    found = _PREFIX.match(text)
    return found[1].lower() if found else None


def _digits(bare: str) -> str | None:
    """The digits of a telephone number with its country, None for anything else."""
    phone = _PHONE.fullmatch(_BETWEEN.sub("", bare))
    if phone is None:
        return None
    # No country's number begins with a zero: two of them are how many countries dial out.
    return phone[1].removeprefix("00") if len(phone[1]) > 8 else phone[1]


def _of_channel(text: str) -> str:
    channel, _, bare = text.partition(":")
    channel, bare = channel.strip().lower(), bare.strip()
    if channel in (SMS, VOICE, "mms", "rcs", "tel") and len(phone := _digits(bare) or "") > 6:
        bare = f"+{phone}"
    return f"{channel}:{bare}"
