"""What the API shows of people, their sessions and owners, and what it is given about them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from recado.api.views import NO_NUL, NOT_BLANK, Given, InvitationView, KeyView, UserView
from recado.identity.callers import Role
from recado.identity.passwords import MOST_CHARS
from recado.identity.plans import HardAction
from recado.identity.users import EMAIL_CHARS, NAME_CHARS

Email = Annotated[str, Field(min_length=3, max_length=EMAIL_CHARS, pattern=NO_NUL)]
Password = Annotated[str, Field(min_length=1, max_length=MOST_CHARS)]
PersonName = Annotated[str, Field(max_length=NAME_CHARS, pattern=NO_NUL)]
OwnerName = Annotated[str, Field(min_length=1, max_length=200, pattern=NOT_BLANK)]
_MAIL = "ana@padaria.example"
_TOKEN = "ri_" + "0" * 43


class MeView(UserView):
    """Who is signed in; a platform administrator has no owner."""

    owner_id: UUID | None


class UserWithKeysView(UserView):
    """A user, and what of their making still works: whoever is dismissed may have left it behind."""

    keys: Annotated[
        list[KeyView],
        Field(description="The API keys that they made, or that such a key made, and that still work."),
    ]


class EndedKeyView(KeyView):
    """An API key that has ended, and what of its making still works."""

    keys: Annotated[
        list[KeyView], Field(description="The API keys that it made, or that such a key made, and that still work.")
    ]


class SessionView(BaseModel):
    """One sign-in, from one browser. It ends at `ends_at` unless it is used before."""

    id: UUID
    created_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    current: Annotated[bool, Field(description="Whether it is the session of this request.")]


class CurrentSessionView(SessionView):
    """The session of this request, and whose it is. Its token is in the cookie alone."""

    user: MeView


class EndedView(BaseModel):
    """How many sessions ended."""

    ended: int


class NewInvitationView(InvitationView):
    """A new invitation, with its token, which is shown this once."""

    token: Annotated[
        str, Field(description="For `POST /v1/invitations/accept`; it can't be had again. Sending it is up to you.")
    ]


class PlanView(BaseModel):
    """Limits of a calendar month; null is none."""

    id: UUID
    name: str
    messages: int | None
    model_tokens: int | None
    transcription_seconds: int | None
    money: Annotated[int | None, Field(description="In millionths of a US dollar.")]
    stored_bytes: Annotated[int | None, Field(description="Of attachments kept at a time, not in a month.")]
    soft_share: Annotated[float, Field(description="At this share of a limit an event warns.")]
    hard_action: Annotated[HardAction, Field(description="Who answers once a limit is reached.")]


class Credentials(Given):
    """What a person signs in with."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"email": _MAIL, "password": "cavalo bateria grampo"}]}
    )

    # Any text: whoever mistypes their address hears the same as whoever mistypes their password.
    email: Annotated[str, Field(max_length=1_000)]
    password: Password
    owner_id: Annotated[
        UUID | None,
        Field(
            description="Of which owner, where several know the address. If not given, the password decides; if it is "
            "the same there too, the one signed in to last, and in a browser that is known its user."
        ),
    ] = None


class NewPassword(Given):
    """Another password, for whoever knows the present one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"password": "cavalo bateria grampo", "new_password": "um outro segredo bom"}]},
    )

    password: Password
    new_password: Password


class UserChange(Given):
    """What of a user changes; fields that are not given stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "operator"}]})

    name: PersonName | None = None
    role: Role | None = None
    status: Literal["active", "disabled"] | None = None
    end_keys: Annotated[
        bool,
        Field(
            description="Revoke the API keys that they made, and that such keys made. For whoever is disabled, or no "
            "admin any more, by this change."
        ),
    ] = False


class NewInvitation(Given):
    """Whom to invite, and as what."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"email": _MAIL, "role": "operator"}]})

    email: Email
    role: Role


class Acceptance(Given):
    """What the invited answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"token": _TOKEN, "name": "Ana", "password": "cavalo bateria grampo"}]},
    )

    token: Annotated[str, Field(max_length=100)]
    name: PersonName | None = None
    password: Password


class NewOwner(Given):
    """An owner to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Padaria Central"}]})

    name: OwnerName


class OwnerChange(Given):
    """What of an owner changes; fields that are not given stay."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"status": "suspended"}, {"plan": "small"}]}
    )

    name: OwnerName | None = None
    status: Literal["active", "suspended"] | None = None
    plan: Annotated[
        str | None, Field(max_length=100, pattern=NO_NUL, description="A plan's name; null or empty: no plan.")
    ] = None
