"""What callers give to send: a text, an attachment, buttons, a list or a template."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from recado.api.shared.forms import CANONICAL, NO_NUL, NOT_BLANK, SID, Given
from recado.channels.twilio.addresses import PERSON
from recado.delivery import content as rules

Title = Annotated[str, Field(min_length=1, max_length=rules.TITLE_CHARS, pattern=NOT_BLANK)]
ChoiceId = Annotated[
    str, Field(min_length=1, max_length=rules.ID_CHARS, pattern=NOT_BLANK, description="Comes back when it is tapped.")
]


class NewButton(Given):
    """A button to tap."""

    id: ChoiceId
    title: Annotated[str, Field(min_length=1, max_length=rules.BUTTON_CHARS, pattern=NOT_BLANK)]


class NewItem(Given):
    """A choice of a list."""

    id: ChoiceId
    title: Title
    description: Annotated[str, Field(min_length=1, max_length=rules.DESCRIPTION_CHARS, pattern=NOT_BLANK)] | None = (
        None
    )


class NewList(Given):
    """Choices behind a button."""

    button: Annotated[str, Field(min_length=1, max_length=rules.BUTTON_CHARS, pattern=NOT_BLANK)]
    items: Annotated[list[NewItem], Field(min_length=1, max_length=rules.ITEMS)]


class NewTemplate(Given):
    """An approved template with all its variables: each one line, without tabs or four spaces in a row."""

    content_sid: Annotated[str, SID, Field(pattern=r"^HX[0-9a-f]{32}$")]
    variables: Annotated[
        dict[str, Annotated[str, Field(max_length=rules.TEXT_CHARS, pattern=NO_NUL)]], Field(max_length=50)
    ] = Field(default_factory=dict)


class NewMessage(Given):
    """What to send: a text, and with it at most one of the others. A template says all by itself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"body": "Seu pedido está pronto."},
                {"body": "Quer confirmar?", "quick_replies": [{"id": "yes", "title": "Sim"}]},
                {"template": {"content_sid": "HX" + "0" * 32, "variables": {"1": "Ana"}}},
            ]
        },
    )

    body: Annotated[str, Field(min_length=1, max_length=16_000, pattern=NOT_BLANK)] | None = None
    media_id: Annotated[UUID, Field(description="A stored attachment of the owner's.")] | None = None
    quick_replies: Annotated[list[NewButton], Field(min_length=1, max_length=rules.BUTTONS)] | None = None
    list_: Annotated[NewList | None, Field(alias="list")] = None
    template: NewTemplate | None = None


class NewMessageTo(NewMessage):
    """What to send, to whom, and from which number."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "number_id": "0199a5b1-7c2e-7d3f-8a4b-1c2d3e4f5a6b",
                    "to": "whatsapp:+5511987654321",
                    "template": {"content_sid": "HX" + "0" * 32, "variables": {"1": "Ana"}},
                },
            ]
        },
    )

    number_id: Annotated[UUID, Field(description="The owner's number that it comes from.")]
    to: Annotated[
        str,
        CANONICAL,
        Field(
            pattern=PERSON,
            description="`whatsapp:+` and the telephone number, or `whatsapp:` and a business-scoped id.",
        ),
    ]
