"""What callers give to make and change things; a secret among it is never part of an answer, an error or a repr."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr

from recado.api.views import NO_NUL, NOT_BLANK, Given
from recado.channels.twilio.addresses import given_address
from recado.channels.twilio.sids import canonical_sid

_SID: Final = "0123456789abcdef0123456789abcdef"
_ID: Final = "01980c5e-5a10-7d42-8c33-91d2f0a4c6e8"

#: In front of an address' pattern: other ways to write the same are taken, and become it.
CANONICAL = BeforeValidator(lambda given: given_address(given) if isinstance(given, str) else given)
SID = BeforeValidator(lambda given: canonical_sid(given) if isinstance(given, str) else given)
#: A token, a key's secret: one line of printable ASCII.
Token = Annotated[SecretStr, Field(min_length=1, max_length=512, description="Kept encrypted, never shown again.")]
Reference = Annotated[
    str,
    Field(
        max_length=600,
        pattern=NO_NUL,
        description="Instead of the value: where it is kept. For the platform's administrators only; 403 for others.",
    ),
]
PublicUrl = Annotated[
    str,
    BeforeValidator(lambda given: given.strip() if isinstance(given, str) else given),
    Field(max_length=2_000, pattern=r"^[hH][tT][tT][pP][sS]?://[^\s\\]+$"),
]
Instructions = Annotated[str, Field(max_length=20_000, pattern=NO_NUL)]
Model = Annotated[str, Field(max_length=200, pattern=NO_NUL, description="Empty: the installation's model.")]
Apology = Annotated[str, Field(max_length=1_000, pattern=NO_NUL, description="Empty: recado's own words.")]
Sees = Annotated[
    bool | Literal["auto"],
    Field(description="Whether the model is given pictures; auto: by what is known of the model."),
]
Templates = Annotated[bool, Field(description="Whether it may send the owner's approved templates by itself.")]
Language = Literal["pt", "es", "en"]
ServiceSid = Annotated[str, SID, Field(pattern=r"^MG[0-9a-f]{32}$")]


class ApiKeyOfTwilio(Given):
    """An API key of the Twilio account, to send with instead of its auth token."""

    sid: Annotated[str, SID, Field(pattern=r"^SK[0-9a-f]{32}$")]
    secret: Token | None = None
    secret_ref: Reference | None = None


class NewTwilioAccount(Given):
    """A Twilio account to add. One of `auth_token` and `auth_token_ref` is needed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"account_sid": f"AC{_SID}", "auth_token": _SID}]}
    )

    account_sid: Annotated[str, SID, Field(pattern=r"^AC[0-9a-f]{32}$")]
    auth_token: Token | None = None
    auth_token_ref: Reference | None = None
    secondary_token: Annotated[Token | None, Field(description="The second token of a rotation under way.")] = None
    secondary_token_ref: Reference | None = None
    api_key: ApiKeyOfTwilio | None = None
    public_url: PublicUrl | None = None


class TwilioAccountChange(Given):
    """What of a Twilio account changes; fields that are not given stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"public_url": "https://hooks.example.com/padaria"}]}
    )

    auth_token: Annotated[Token | None, Field(description="Replaces the token at once; `rotate` has no gap.")] = None
    auth_token_ref: Reference | None = None
    api_key: Annotated[ApiKeyOfTwilio | None, Field(description="Null: send with the auth token again.")] = None
    public_url: Annotated[PublicUrl | None, Field(description="Null: the installation's address again.")] = None


class SecondToken(Given):
    """The token that is to follow: one of the two."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"auth_token": _SID[::-1]}]})

    auth_token: Token | None = None
    auth_token_ref: Reference | None = None


class NewNumber(Given):
    """A WhatsApp sender of one of the owner's Twilio accounts."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"account_id": _ID, "address": "whatsapp:+14155238886"}]},
    )

    account_id: UUID
    address: Annotated[str, CANONICAL, Field(pattern=r"^whatsapp:\+[1-9][0-9]{6,14}$")]
    assistant_id: Annotated[UUID | None, Field(description="Null: the default assistant answers.")] = None
    messaging_service_sid: ServiceSid | None = None


class NumberChange(Given):
    """What of a number changes; fields that are not given stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"assistant_id": _ID}]})

    assistant_id: Annotated[UUID | None, Field(description="Null: the default assistant answers.")] = None
    status: Annotated[
        Literal["active", "unrouted"] | None, Field(description="`unrouted`: messages are kept, not answered.")
    ] = None
    messaging_service_sid: Annotated[ServiceSid | None, Field(description="Null: none sends for it.")] = None


class NewAssistant(Given):
    """An assistant to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "night", "instructions": "Answer briefly.", "language": "pt"}]},
    )

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=NOT_BLANK)]
    instructions: Instructions = ""
    model: Model | None = None
    language: Language = "pt"
    apology: Apology | None = None
    sees: Sees | None = None
    templates: Templates = False
    is_default: Annotated[bool, Field(description="Whether it answers where a number names no assistant.")] = False


class AssistantChange(Given):
    """What of an assistant changes; fields that are not given stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"instructions": "Answer briefly.", "language": "pt"}]}
    )

    instructions: Instructions | None = None
    model: Model | None = None
    language: Language | None = None
    apology: Apology | None = None
    sees: Sees | None = None
    templates: Templates | None = None
    is_default: Annotated[
        Literal[True] | None, Field(description="It answers where a number names none, instead of the one that did.")
    ] = None


class KnowledgeText(Given):
    """All that is known from a source."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"text": "# Qual o horário?\nAbrimos das 7h às 20h.\n", "language": "pt"}]},
    )

    text: Annotated[
        str,
        Field(
            min_length=1,
            max_length=250_000,
            pattern=NO_NUL,
            description="Markdown, each heading with its text an entry; of a .csv source rows of question and answer.",
        ),
    ]
    language: Annotated[Language | None, Field(description="Null: told from the text.")] = None


class ContactChange(Given):
    """What people know of a contact."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"language": "en"}]})

    language: Annotated[
        Annotated[str, Field(pattern=r"^[a-z]{2}$")] | None,
        Field(description="By its two letters (ISO 639-1); null: what the contact writes tells it again."),
    ]


class Assignment(Given):
    """Who is to see to a conversation."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"assignee_id": _ID}]})

    assignee_id: Annotated[UUID | None, Field(description="An active admin or operator; null: nobody.")]
