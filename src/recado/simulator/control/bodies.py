"""What the control API takes, checked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from recado.channels.twilio.addresses import given_address
from recado.simulator.kinds import Writing

#: A WhatsApp address in Twilio's own form, whatever form it was given in: one person has one thread. What a webhook is
#: to say instead, `params` says.
CANONICAL = BeforeValidator(lambda given: given_address(given) if isinstance(given, str) else given)


class Body(BaseModel):
    """Nothing besides what is named is taken."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class AccountBody(Body):
    """An account and its secrets; the first token signs."""

    account_sid: str = Field(pattern=r"^AC[0-9a-fA-F]{32}$")
    auth_tokens: list[str] = Field(min_length=1)
    api_keys: dict[str, str] = {}


class NumberBody(Body):
    """A number of an account; the webhook URL may carry `#rc=..&rp=..`."""

    account_sid: str
    address: Annotated[str, CANONICAL, Field(min_length=1)]
    webhook_url: str | None = None
    status_callback_url: str | None = None
    messaging_service_sid: str | None = Field(default=None, pattern=r"^MG[0-9a-fA-F]{32}$")
    status: str = Field(default="ONLINE", pattern=r"^[A-Z_:]{1,40}$")


class ContactBody(Body):
    """A contact who has not written yet."""

    account_sid: str
    number: Annotated[str, CANONICAL]
    contact: Annotated[str, CANONICAL, Field(pattern=r"^(whatsapp:)?\S{3,60}$")]
    name: str = ""


class MessageBody(Writing):
    """What a contact writes, of any kind; `params` adds webhook parameters, replaces them, or with null removes them.

    `files` are sids of `POST /sim/files`; each becomes a message of its own, as WhatsApp does with an album.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    account_sid: str
    from_: Annotated[str, CANONICAL, Field(alias="from", min_length=1)]
    to: Annotated[str, CANONICAL]
    profile_name: str | None = None
    files: tuple[str, ...] = ()
    params: dict[str, str | None] = Field(default_factory=dict)
    message_sid: str | None = Field(default=None, pattern=r"^(SM|MM)[0-9a-fA-F]{32}$")
    wait: bool = True


class ResendBody(Body):
    """How often to post the webhook again, all at once."""

    times: int = Field(default=1, ge=1, le=1000)
    wait: bool = True


class TapBody(Body):
    """The id or the title of the button or the list's item that is tapped."""

    choice: str
    wait: bool = True


class PaceBody(Body):
    """What is given is changed."""

    sent_ms: float | None = Field(default=None, ge=0)
    delivered_ms: float | None = Field(default=None, ge=0)
    read_ms: float | None = Field(default=None, ge=0)
    auto_read: bool | None = None
    media_ms: float | None = Field(default=None, ge=0)
    approved_ms: float | None = Field(default=None, ge=0)


class ThreadBody(Body):
    """A thread, by its two sides."""

    account_sid: str
    number: Annotated[str, CANONICAL]
    contact: Annotated[str, CANONICAL]


class WindowBody(ThreadBody):
    """For how many seconds from now the business may still write what it likes; 0 closes the window."""

    left_s: float = Field(ge=0)


class ApprovalBody(Body):
    """WhatsApp's word on a template, from now on."""

    status: Literal["unsubmitted", "received", "pending", "approved", "rejected", "paused", "disabled"]
    rejection_reason: str = ""
