"""A SID is one whatever case and blanks it comes with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.channels.twilio.parse import parse_inbound, parse_receipt
from recado.channels.twilio.sids import canonical_sid

FIELDS = {"From": "whatsapp:+5511987654321", "To": "whatsapp:+14155238886", "Body": "Oi", "NumMedia": "0"}


@given(
    st.sampled_from(["AC", "SM", "MM", "MG", "SK", "HX", "CA"]),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.sampled_from(["", " ", "\t", "\n", "\u00a0"]),
    st.randoms(),
)
def test_every_kind_has_one_form(kind: str, digits: str, around: str, chance: object) -> None:
    pick = chance.choice  # type: ignore[attr-defined]
    written = "".join(pick((one.lower(), one.upper())) for one in kind + digits)
    assert canonical_sid(f"{around}{written}{around}") == kind + digits


@pytest.mark.parametrize(
    "other", ["", " ", "AC", "AC" + "g" * 32, "AC" + "a" * 31, "AC" + "a" * 33, "\uff21C" + "a" * 32]
)
def test_what_is_none_stays_as_it_is(other: str) -> None:
    assert canonical_sid(other) == other


def test_a_message_that_is_posted_again_in_capitals_is_the_same_message() -> None:
    sids = {"AccountSid": "AC" + "ab" * 16, "MessageSid": "SM" + "cd" * 16, "MessagingServiceSid": "MG" + "ef" * 16}
    one, other = (
        parse_inbound([*FIELDS.items(), *((name, change(sid)) for name, sid in sids.items())], idempotency_token=None)
        for change in (str, str.upper)
    )
    assert (one.account_sid, one.message_sid, one.messaging_service_sid) == tuple(sids.values())
    assert (other.account_sid, other.message_sid, other.messaging_service_sid) == tuple(sids.values())
    told = [("AccountSid", sids["AccountSid"].upper()), ("MessageSid", sids["MessageSid"].upper())]
    assert parse_receipt([*told, ("MessageStatus", "sent")]).message_sid == sids["MessageSid"]
