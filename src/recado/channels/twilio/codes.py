"""Twilio's error codes: what each means for the message, and the words an owner reads.

Source: the error dictionary, https://www.twilio.com/docs/api/errors/CODE, for each code below.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from recado.channels.port import ErrorClass

_CODES: dict[int, tuple[ErrorClass, str]] = {
    20429: (ErrorClass.RETRY, "Twilio is getting too many requests from this account."),
    30001: (ErrorClass.RETRY, "Twilio's queue for this number was full."),
    59004: (ErrorClass.RETRY, "Twilio could not take the message for the moment."),
    63017: (ErrorClass.RETRY, "This account sends faster than Twilio allows."),
    63018: (ErrorClass.RETRY, "This number sends faster than WhatsApp allows."),
    21730: (ErrorClass.RETRY, "Twilio is under maintenance."),
    63012: (ErrorClass.RETRY, "WhatsApp answered Twilio with an error of its own."),
    63016: (
        ErrorClass.WINDOW,
        "The contact's last message is more than 24 hours old: WhatsApp takes only an approved template now.",
    ),
    20003: (ErrorClass.CONFIGURATION, "Twilio refuses the account's credentials: check the SID and the auth token."),
    20404: (ErrorClass.CONFIGURATION, "Twilio does not know this account or resource: check the account SID."),
    21606: (ErrorClass.CONFIGURATION, "This number does not belong to the Twilio account or can't send messages."),
    21608: (ErrorClass.CONFIGURATION, "A Twilio trial account sends only to numbers that were verified first."),
    21654: (ErrorClass.CONFIGURATION, "Template variables were given without a template (ContentSid)."),
    63007: (ErrorClass.CONFIGURATION, "Twilio has no WhatsApp sender with this address in the account."),
    10001: (ErrorClass.CONFIGURATION, "The Twilio account is not active: check its balance and its status."),
    20005: (ErrorClass.CONFIGURATION, "The Twilio account is not active: check its balance and its status."),
    20010: (ErrorClass.CONFIGURATION, "Twilio has disabled this for the account: its support knows why."),
    20403: (ErrorClass.CONFIGURATION, "The Twilio account may not use the API: it is suspended or closed."),
    21212: (ErrorClass.CONFIGURATION, "The sender's address is not a valid number or an approved WhatsApp sender."),
    21408: (ErrorClass.CONFIGURATION, "The Twilio account may not send to the contact's country."),
    21601: (ErrorClass.CONFIGURATION, "This number is not one of the Twilio account's that can send."),
    21612: (ErrorClass.CONFIGURATION, "Twilio can't send from this sender to this contact."),
    21659: (ErrorClass.CONFIGURATION, "The sender is not a number of Twilio's."),
    21660: (ErrorClass.CONFIGURATION, "The sender does not belong to the Twilio account."),
    21661: (ErrorClass.CONFIGURATION, "The sender can't send messages."),
    21701: (ErrorClass.CONFIGURATION, "The Messaging Service does not exist in the Twilio account."),
    21705: (ErrorClass.CONFIGURATION, "The Messaging Service's SID is not valid."),
    21910: (ErrorClass.CONFIGURATION, "Sender and contact are of different channels."),
    30016: (ErrorClass.CONFIGURATION, "Sender and contact are of different channels."),
    30002: (ErrorClass.CONFIGURATION, "The Twilio account was suspended before the message went out."),
    63001: (ErrorClass.CONFIGURATION, "WhatsApp refuses the sender's authorisation: connect the sender again."),
    63008: (ErrorClass.CONFIGURATION, "The WhatsApp sender is not configured rightly at Twilio."),
    63031: (ErrorClass.CONFIGURATION, "Sender and contact are the same number."),
    63062: (ErrorClass.CONFIGURATION, "Meta's terms for marketing messages were not accepted."),
    63051: (ErrorClass.CONFIGURATION, "Meta has locked this WhatsApp sender."),
    63101: (ErrorClass.CONFIGURATION, "Twilio can't use the WhatsApp Business Account of this sender."),
    90010: (ErrorClass.CONFIGURATION, "The Twilio account is not active: check its balance and its status."),
    63015: (
        ErrorClass.CONFIGURATION,
        "The WhatsApp sandbox sends only to people who joined it; this contact has not.",
    ),
    21211: (ErrorClass.RECIPIENT, "The contact's address is not a valid number."),
    21610: (ErrorClass.RECIPIENT, "The contact has opted out of messages from this number."),
    21614: (ErrorClass.RECIPIENT, "The contact's number can't receive messages."),
    63003: (ErrorClass.RECIPIENT, "The contact's address was not found on WhatsApp."),
    63014: (ErrorClass.RECIPIENT, "The message was blocked by something the contact did."),
    63024: (ErrorClass.RECIPIENT, "The contact can't receive WhatsApp messages at this address."),
    63033: (ErrorClass.RECIPIENT, "The contact has blocked messages from this number."),
    21617: (ErrorClass.CONTENT, "The text is longer than Twilio takes in one message (1,600 characters)."),
    21620: (ErrorClass.CONTENT, "The address of the attached media is not valid."),
    21655: (ErrorClass.CONTENT, "The template's ContentSid is not valid in this account."),
    21656: (ErrorClass.CONTENT, "The template's variables are not valid."),
    21658: (ErrorClass.CONTENT, "A variable of the template is too long or not allowed."),
    63005: (ErrorClass.CONTENT, "WhatsApp did not accept the content of the message."),
    63006: (ErrorClass.CONTENT, "The content can't be put into WhatsApp's form."),
    63030: (ErrorClass.CONTENT, "WhatsApp does not support a parameter of the message."),
    63013: (ErrorClass.CONTENT, "The message goes against WhatsApp's policy."),
    63019: (ErrorClass.CONTENT, "WhatsApp could not download the attached media."),
    63020: (
        ErrorClass.CONTENT,
        "WhatsApp refused the message because of the account in Meta Business Manager.",
    ),
    63021: (ErrorClass.CONTENT, "The message has content that WhatsApp does not support."),
    63032: (ErrorClass.CONTENT, "WhatsApp chose not to deliver this message to the contact."),
    63034: (ErrorClass.CONTENT, "The attached media is larger than WhatsApp takes."),
    63027: (ErrorClass.TEMPLATE, "The template does not exist in this language."),
    63028: (ErrorClass.TEMPLATE, "The number of variables is not the one of the template."),
    63029: (ErrorClass.TEMPLATE, "The contact's phone could not load the template."),
    63040: (ErrorClass.TEMPLATE, "WhatsApp rejected the template."),
    63041: (ErrorClass.TEMPLATE, "WhatsApp has paused the template because of its quality."),
    21611: (ErrorClass.QUOTA, "This number's queue at Twilio is full."),
    63038: (ErrorClass.QUOTA, "The account has used up its daily limit of messages at Twilio."),
}

CODES: Mapping[int, tuple[ErrorClass, str]] = MappingProxyType(_CODES)
"""Code -> class and owner's words."""

#: Classes whose failure is not the end of a message that Twilio took: it is sent again, or held, as if it had been told
#: at once. Twilio says `failed` only when it will not try again, so nothing is doubled.
NOT_FINAL: Final = (ErrorClass.RETRY, ErrorClass.WINDOW, ErrorClass.QUOTA, ErrorClass.CONFIGURATION)
NOT_FINAL_CODES = frozenset(code for code, (error_class, _) in _CODES.items() if error_class in NOT_FINAL)
"""The listed codes of these classes."""

OPT_OUT_CODES = frozenset({21610, 63033})
"""Codes by which a contact says that they want no more messages."""

_OTHERWISE = {
    ErrorClass.RETRY: "Twilio could not take the message for the moment.",
    ErrorClass.WINDOW: "The 24 hour window of this conversation is closed.",
    ErrorClass.CONFIGURATION: "Twilio refused the request: the account or number is not set up for it.",
    ErrorClass.RECIPIENT: "The contact can't be reached.",
    ErrorClass.CONTENT: "Twilio did not accept the message.",
    ErrorClass.TEMPLATE: "The template can't be used.",
    ErrorClass.QUOTA: "A limit of the Twilio account is used up.",
    ErrorClass.LOOK: "Twilio refused the message for a reason that recado does not know: see Twilio's error log.",
    ErrorClass.UNKNOWN: "Twilio did not say whether it took the message.",
}


def classify(status: int | None, code: int | None) -> ErrorClass:
    """What an error answer of this HTTP status and Twilio code means for the message.

    Without a status the code comes from a status callback or a fetched message: there the failure is a fact, so a
    code we do not know is final. A code that we do not know of an answer that refuses says nothing about the content.
    """
    if status is not None:
        if status == 429:
            return ErrorClass.RETRY
        # Twilio may have taken the message before it failed, whatever code it then wrote.
        if status < 300 or status >= 500 or status == 408:
            return ErrorClass.UNKNOWN
    if code is not None and code in CODES:
        return CODES[code][0]
    if status is None:
        return ErrorClass.CONTENT
    return ErrorClass.CONFIGURATION if status < 400 or status in {401, 403, 404, 405} else ErrorClass.LOOK


def owner_text(code: int | None, error_class: ErrorClass) -> str:
    """The words for an owner: the code's own when its class is the one that counts, else those of the class."""
    if code is not None and code in CODES and CODES[code][0] is error_class:
        return CODES[code][1]
    return _OTHERWISE[error_class]
