"""Twilio's SIDs: two capital letters for the kind and 32 hexadecimal digits in small ones.

Twilio tells two that differ in case apart (an AccountSid in capitals is no account), people and spreadsheets don't. So
whatever comes in is brought into Twilio's form before it is stored, looked up or asked for.
"""

from __future__ import annotations

import re

_SID = re.compile(r"[A-Za-z]{2}[0-9A-Fa-f]{32}")


def canonical_sid(text: str) -> str:
    """The SID in Twilio's own form, whatever case and blanks around it; what is none comes back as it is."""
    bare = text.strip()
    return bare[:2].upper() + bare[2:].lower() if _SID.fullmatch(bare) else text
