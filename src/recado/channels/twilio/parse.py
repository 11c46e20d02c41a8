"""From Twilio's parameters to an `Inbound` or a `Receipt`.

Source: https://www.twilio.com/docs/messaging/guides/webhook-request. Twilio adds parameters without notice, so only
what makes a message impossible to keep is refused; everything else odd is left out or kept as raw text.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recado.channels.port import Forwarded, Inbound, Media, OptOut, Receipt, Referral
from recado.channels.twilio.addresses import (
    SMS,
    VOICE,
    WHATSAPP,
    canonical_address,
    channel_of,
    identity_key,
    is_scoped_id,
    other_channels_address,
)
from recado.channels.twilio.sids import canonical_sid
from recado.channels.visible import visible
from recado.errors import Rejected
from recado.text import is_blank, storable

CALL_PERMISSION = "call_permission"
"""Our kind for the answer to a request to call; Twilio gives it as a button."""
STICKER = "sticker"
"""Our kind for a picture of the type that only stickers have; Twilio gives it as an image."""
CALL = "call"
"""Our kind for a call by voice, which is no message at all: its webhook was pointed here."""
WITHOUT_WORDS = frozenset({"document", "audio", STICKER, "location", "contacts", CALL_PERMISSION, CALL})
"""Kinds whose Body, if there is one, is not what the contact said: a file's name, a place's."""

_TOLD = re.compile(
    # What every webhook has: who wrote to whom, by which message, through which channel.
    r"AccountSid|ApiVersion|Body|Channel\w+|EventType|(?:From|To)(?:City|State|Zip|Country)?|(?:Sms)?MessageSid|MessageStatus"
    r"|MessageType|MessagingServiceSid|Num(?:Media|Segments)|OptOutType|ProfileName|Sms(?:Sid|Status)|WaId"
    # What `Inbound` has a field for.
    r"|Address|Button(?:Payload|Text)|(?:Parent)?ExternalUserId|(?:Frequently)?Forwarded|Label|Latitude|Longitude"
    r"|List(?:Description|Id|Title)|Media(?:Url|ContentType)[0-9]+|OriginalRepliedMessage(?:Sender|Sid)|Referral\w+"
    # Ours (`archive`): how it came.
    r"|RecadoTakenFrom"
)

_MAX_MEDIA = 10
_MAX_ADDRESS_CHARS = 255
_NOT_IN_ADDRESSES = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})
_OPT_OUTS: tuple[OptOut, ...] = ("stop", "start", "help")
_INBOUND_STATUSES = {"received", "receiving"}
_ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")
_MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
_SERVICE_SID = re.compile(r"MG[0-9a-f]{32}")
_CALL_SID = re.compile(r"CA[0-9a-f]{32}")
_WORD = re.compile(r"[a-z][a-z_-]{0,31}")
_EVENT = re.compile(r"[A-Za-z_]{1,32}")
_CODE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{1,30})?")
_MIME_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioWhatsAppPayload:
    """Typed reading of the parameters of one webhook call; all of them stay in `parameters`, repeated ones too."""

    parameters: Mapping[str, Sequence[str]] = field(repr=False)

    def text(self, name: str) -> str | None:
        """The first value, or None if the parameter is missing or blank."""
        values = self.parameters.get(name)
        return values[0] if values and values[0].strip() else None

    def required(self, name: str, *others: str) -> str:
        """The value of the first of these names that is there; raises `Rejected` when none is, or it has two values."""
        for candidate in (name, *others):
            if value := self.text(candidate):
                if len(set(self.parameters[candidate])) > 1:
                    raise Rejected(400, f"{candidate} has more than one value")
                return value
        raise Rejected(400, f"{name} is missing")

    def account_sid(self) -> str:
        """Raises `Rejected` when it is missing or malformed."""
        return _sid(_ACCOUNT_SID, "AccountSid", self.required("AccountSid"))

    def is_call(self) -> bool:
        """Whether it is about a call, which has no message."""
        named = any(self.text(name) for name in ("MessageSid", "SmsMessageSid", "SmsSid"))
        return not named and self.text("CallSid") is not None

    def channel(self) -> str:
        """Which channel it came by, as a word: `whatsapp` for ours.

        What an address names counts. Without a prefix on either side, which Twilio sometimes leaves out, it is an SMS
        unless something is there that only WhatsApp's messages have.
        """
        if self.is_call():
            return VOICE
        named = [channel for name in ("From", "To") if (channel := channel_of(self.text(name) or "")) is not None]
        for channel in named:
            if channel != WHATSAPP:
                return channel
        if named:
            return WHATSAPP
        told = (self.text("ChannelPrefix") or self._metadata_type() or "").strip().lower()
        if _WORD.fullmatch(told):
            return told
        has_id = self.external_id("ExternalUserId") or _scoped_id(self.text("From") or "")
        wa_id = identity_key(self.text("WaId") or "").startswith("whatsapp:+")
        return WHATSAPP if has_id or wa_id else SMS

    def _metadata_type(self) -> str | None:
        try:
            metadata = json.loads(self.text("ChannelMetadata") or "null")
        except (ValueError, RecursionError):
            return None
        kind = metadata.get("type") if isinstance(metadata, dict) else None
        return kind if isinstance(kind, str) else None

    def opt_out(self) -> OptOut | None:
        """What a Messaging Service has heeded and answered itself; None for nothing, and for words it has not now."""
        told = (self.text("OptOutType") or "").strip().lower()
        return next((known for known in _OPT_OUTS if known == told), None)

    def message_sid(self) -> str:
        """The message's, or the call's; raises `Rejected` when it is missing or malformed."""
        if self.is_call():
            return _sid(_CALL_SID, "CallSid", self.required("CallSid"))
        return _sid(_MESSAGE_SID, "MessageSid", self.required("MessageSid", "SmsMessageSid", "SmsSid"))

    def contact_address(self, name: str) -> str:
        """`From` or `To` as it came; raises `Rejected` when it is missing, too long or holds control characters."""
        value = self.required(name)
        if is_blank(value):
            raise Rejected(400, f"{name} is missing")
        if len(value) > _MAX_ADDRESS_CHARS or any(unicodedata.category(one) in _NOT_IN_ADDRESSES for one in value):
            raise Rejected(400, f"{name} is malformed")
        return value

    def status(self) -> str | None:
        """The status in Twilio's words, whichever parameter holds it."""
        value = self.text("MessageStatus") or self.text("SmsStatus")
        return value.strip().lower() if value else None

    def degrees(self, name: str, most: float) -> float | None:
        """A coordinate, or None when it is missing or not on this planet."""
        value = self.text(name)
        if value is None or not _DECIMAL.fullmatch(value.strip()):
            return None
        number = float(value)
        return number if math.fabs(number) <= most else None

    def is_true(self, name: str) -> bool:
        """Whether it says so, in any of the ways that there are."""
        return (self.text(name) or "").strip().lower() in {"true", "1", "yes"}

    def forwarded(self) -> Forwarded | None:
        """Whether the contact passed the message on, or it has been passed on many times."""
        if self.is_true("FrequentlyForwarded"):
            return "often"
        return "once" if self.is_true("Forwarded") else None

    def referral(self) -> Referral | None:
        """The advertisement that the contact came from."""
        found = Referral(
            headline=self.text("ReferralHeadline"),
            body=self.text("ReferralBody"),
            source_type=self.text("ReferralSourceType"),
            source_id=self.text("ReferralSourceId"),
            source_url=self.text("ReferralSourceUrl"),
            media_url=self.text("ReferralMediaUrl"),
            media_content_type=self.text("ReferralMediaContentType"),
            click_id=self.text("ReferralCtwaClid"),
        )
        return None if found == Referral() else found

    def external_id(self, name: str) -> str | None:
        """A person's business-scoped id as an address, or None when it is missing or of another form."""
        address = canonical_address(self.text(name) or "")
        return address if is_scoped_id(address) else None

    def media(self) -> tuple[Media, ...]:
        """The attachments by what is there, not by what NumMedia says."""
        found = []
        for index in range(_MAX_MEDIA):
            if url := self.text(f"MediaUrl{index}"):
                content_type = (self.text(f"MediaContentType{index}") or "").partition(";")[0].strip().lower()
                if not _MIME_TYPE.fullmatch(content_type):
                    content_type = "application/octet-stream"
                found.append(Media(url=url, content_type=content_type))
        return tuple(found)


def read_payload(params: Sequence[tuple[str, str]]) -> TwilioWhatsAppPayload:
    """The parameters by name, without what PostgreSQL can't store (NUL, lone surrogates)."""
    parameters: dict[str, list[str]] = {}
    for name, value in params:
        parameters.setdefault(storable(name), []).append(storable(value))
    return TwilioWhatsAppPayload(parameters=parameters)


def parse_inbound(params: Sequence[tuple[str, str]], *, idempotency_token: str | None = None) -> Inbound:
    """The message that these parameters announce. Raises `Rejected` (400) and nothing else, whatever they hold."""
    payload = read_payload(params)
    account_sid, message_sid = payload.account_sid(), payload.message_sid()
    status = payload.status()
    if status is not None and status not in _INBOUND_STATUSES:
        raise Rejected(400, "a status callback came to the inbound webhook")
    from_address, to_address = payload.contact_address("From"), payload.contact_address("To")
    channel = payload.channel()
    if channel == WHATSAPP:
        from_address, to_address = canonical_address(from_address), canonical_address(to_address)
    else:
        from_address = other_channels_address(from_address, channel)
        to_address = other_channels_address(to_address, channel)
    wa_id = payload.text("WaId") if channel == WHATSAPP else None
    body = payload.parameters.get("Body", [""])[0]
    media = payload.media()
    kind = _kind(payload, media)
    if kind == "document" and media and body.strip():
        media = (Media(url=media[0].url, content_type=media[0].content_type, file_name=visible(body)), *media[1:])
    service_sid = canonical_sid(payload.text("MessagingServiceSid") or "")
    replied_to_sid = canonical_sid(payload.text("OriginalRepliedMessageSid") or "")
    return Inbound(
        account_sid=account_sid,
        message_sid=message_sid,
        from_address=from_address,
        to_address=to_address,
        channel=channel,
        identity_key=_identity_key(from_address, wa_id),
        kind=kind,
        body=body,
        profile_name=visible(payload.text("ProfileName") or ""),
        wa_id=wa_id if wa_id and len(wa_id) <= _MAX_ADDRESS_CHARS and wa_id.isprintable() else None,
        media=media,
        button_payload=payload.text("ButtonPayload"),
        button_text=payload.text("ButtonText"),
        list_id=payload.text("ListId"),
        list_title=payload.text("ListTitle"),
        list_description=payload.text("ListDescription"),
        latitude=payload.degrees("Latitude", 90.0),
        longitude=payload.degrees("Longitude", 180.0),
        address=payload.text("Address"),
        label=payload.text("Label"),
        replied_to_sid=replied_to_sid if _MESSAGE_SID.fullmatch(replied_to_sid) else None,
        replied_to_sender=payload.text("OriginalRepliedMessageSender"),
        forwarded=payload.forwarded(),
        referral=payload.referral(),
        external_id=(payload.external_id("ExternalUserId") or _scoped_id(from_address))
        if channel == WHATSAPP
        else None,
        opt_out=payload.opt_out() if channel == WHATSAPP else None,
        parent_external_id=payload.external_id("ParentExternalUserId"),
        messaging_service_sid=service_sid if _SERVICE_SID.fullmatch(service_sid) else None,
        idempotency_token=storable(idempotency_token)[:_MAX_ADDRESS_CHARS] if idempotency_token else None,
        parameters=payload.parameters,
    )


def read_stored(parameters: Mapping[str, Sequence[str]]) -> Inbound:
    """The message that was stored with these `parameters`. Raises `Rejected` for what was never accepted."""
    return parse_inbound([(name, value) for name, values in parameters.items() for value in values])


def unread(inbound: Inbound) -> dict[str, str]:
    """The message's own parameters that nothing else of `Inbound` tells; sorted, as no order is stored."""
    return {
        name: ", ".join(value for value in values if value.strip())
        for name, values in sorted(inbound.parameters.items())
        if not _TOLD.fullmatch(name) and any(value.strip() for value in values)
    }


def parse_receipt(params: Sequence[tuple[str, str]]) -> Receipt:
    """The status that these parameters report. Raises `Rejected` (400) and nothing else, whatever they hold.

    A status that Twilio may add later is passed on as it is.
    """
    payload = read_payload(params)
    account_sid, message_sid = payload.account_sid(), payload.message_sid()
    status = payload.status()
    if status is None:
        raise Rejected(400, "MessageStatus is missing")
    if status in _INBOUND_STATUSES:
        raise Rejected(400, "an inbound message came to the status webhook")
    code = (payload.text("ErrorCode") or "").strip()
    event_type = (payload.text("EventType") or "").strip()
    return Receipt(
        account_sid=account_sid,
        message_sid=message_sid,
        status=_matching(_WORD, "MessageStatus", status),
        # Some callbacks say 0 for none.
        error_code=(int(code) or None) if _CODE.fullmatch(code) else None,
        error_text=payload.text("ErrorMessage") or payload.text("ChannelStatusMessage"),
        event_type=event_type if _EVENT.fullmatch(event_type) else None,
    )


def is_call(params: Sequence[tuple[str, str]]) -> bool:
    """Whether a webhook is about a call, of which nothing is ours."""
    return read_payload(params).is_call()


def contact_words(inbound: Inbound) -> str:
    """What the contact said, for the assistant; empty when there are no words (a voice note, a file's name).

    Words of which nothing is seen are none. It is the contact's text, or anyone's that they forwarded: data, never an
    instruction.
    """
    if inbound.kind in WITHOUT_WORDS:
        return ""
    match inbound.kind:
        case "button":
            words = inbound.button_text or inbound.body
        case "interactive":
            words = inbound.list_title or inbound.button_text or inbound.body
        case _:
            words = inbound.body
    return "" if is_blank(words) else words


def tapped(inbound: Inbound) -> str | None:
    """What the sender gave the button or list item to mean that the contact tapped; None when nobody gave it anything.

    The words of it are then the sender's too, not the contact's choice of words.
    """
    return inbound.button_payload or inbound.list_id


def _scoped_id(address: str) -> str | None:
    canonical = canonical_address(address)
    return canonical if is_scoped_id(canonical) else None


def _identity_key(from_address: str, wa_id: str | None) -> str:
    """The key of the person's telephone number where Twilio tells it, be it beside a business-scoped id only."""
    key = identity_key(from_address)
    if is_scoped_id(key) and wa_id and (phone := identity_key(wa_id)).startswith("whatsapp:+"):
        return phone
    return key


def _kind(payload: TwilioWhatsAppPayload, media: Sequence[Media]) -> str:
    """Twilio's MessageType, or what the other parameters tell when it is missing."""
    if payload.is_call():
        return CALL
    if payload.text("ButtonText") == payload.text("Body") == "VOICE_CALL_REQUEST":
        return CALL_PERMISSION
    told = (payload.text("MessageType") or "").strip().lower()
    if told in {"", "image"} and media and media[0].content_type == "image/webp":
        return STICKER
    if told == "interactive" and payload.text("ButtonPayload") and not payload.text("ListId"):
        # The tap of a button under a text, as WhatsApp itself names it.
        return "button"
    if _WORD.fullmatch(told):
        return told
    if media:
        major = media[0].content_type.partition("/")[0]
        return major if major in {"image", "audio", "video"} else "document"
    if payload.text("Latitude") and payload.text("Longitude"):
        return "location"
    if payload.text("ListId"):
        return "interactive"
    if payload.text("ButtonPayload") or payload.text("ButtonText"):
        return "button"
    return "text"


def _sid(pattern: re.Pattern[str], name: str, value: str) -> str:
    return _matching(pattern, name, canonical_sid(value))


def _matching(pattern: re.Pattern[str], name: str, value: str) -> str:
    if not pattern.fullmatch(value):
        raise Rejected(400, f"{name} is malformed")
    return value
