"""Numbers: the WhatsApp senders of an owner, and which assistant answers for each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from recado.api.shared import examples, pages
from recado.api.shared.door import ADMIN, READ, GuardedRoute, Visit, Who
from recado.api.shared.forms import CANONICAL, SID, Given
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.assistants import assistant
from recado.channels.twilio import accounts, listing, numbers, proof
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound
from recado.identity import audit

ServiceSid = Annotated[str, SID, Field(pattern=r"^MG[0-9a-f]{32}$")]


class NumberView(BaseModel):
    """A WhatsApp sender; without `assistant_id` the default assistant answers. `version` is its ETag."""

    id: Annotated[UUID, Field(examples=[examples.OTHER_ID])]
    account_id: UUID
    address: Annotated[str, Field(examples=["whatsapp:+14155238886"])]
    status: Annotated[Literal["active", "unrouted"], Field(description="`unrouted`: messages are kept, not answered.")]
    assistant_id: UUID | None
    messaging_service_sid: Annotated[
        str | None, Field(examples=["MG" + "0" * 32], description="The Messaging Service that sends for the number.")
    ]
    proven: Annotated[bool, Field(description="Twilio has said that the account has this number.")]
    version: int
    created_at: datetime


class NewNumber(Given):
    """A WhatsApp sender of one of the owner's Twilio accounts."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"account_id": examples.OTHER_ID, "address": "whatsapp:+14155238886"}]},
    )

    account_id: UUID
    address: Annotated[str, CANONICAL, Field(pattern=r"^whatsapp:\+[1-9][0-9]{6,14}$")]
    assistant_id: Annotated[UUID | None, Field(description="Null: the default assistant answers.")] = None
    messaging_service_sid: ServiceSid | None = None


class NumberChange(Given):
    """What of a number changes; fields that are not given stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"assistant_id": examples.OTHER_ID}]})

    assistant_id: Annotated[UUID | None, Field(description="Null: the default assistant answers.")] = None
    status: Annotated[
        Literal["active", "unrouted"] | None, Field(description="`unrouted`: messages are kept, not answered.")
    ] = None
    messaging_service_sid: Annotated[ServiceSid | None, Field(description="Null: none sends for it.")] = None


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/numbers", tags=["Numbers"], operation_id="list_numbers", responses=describe(), openapi_extra=READ)
async def list_numbers(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[NumberView]:
    """The owner's numbers, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(NumberView, await numbers.page(scope, after=after, limit=limit), limit)


@router.post(
    "/numbers",
    tags=["Numbers"],
    operation_id="add_number",
    status_code=201,
    response_model=NumberView,
    responses=describe(409, sends={201: ["ETag", "Location"]}),
    openapi_extra=ADMIN,
)
async def add_number(request: Request, who: Who, given: NewNumber, idempotency_key: IdempotencyKey = None) -> Response:
    """Add a number, or route one that got messages unrouted: those of the last 24 hours are answered then.

    Twilio is asked whether the account has it: `proven`. What it does not say is added all the same and asked again.
    """
    listed = await _senders(who, given.account_id)

    async def add(scope: Scope) -> NumberView:
        try:
            account = await listing.account(scope, given.account_id)
        except NotFound:
            raise wrong("account_id", "is no Twilio account of this owner") from None
        if account.removed_at is not None:
            raise wrong("account_id", "is a Twilio account that was removed: add it again")
        await _check_assistant(scope, given.assistant_id)
        try:
            before = await numbers.by_address(scope, account.id, given.address)
        except NotFound:
            before = None
        if before is not None and before.status == "active":
            raise Conflict("the Twilio account has this number already: change that one")
        saved = await accounts.add_number(
            scope, account_sid=account.account_sid, address=given.address, assistant_id=given.assistant_id
        )
        made = await numbers.listed(scope, saved.id, lock=True)
        await numbers.change(scope, made, messaging_service_sid=given.messaging_service_sid)
        await proof.keep_senders(scope, account.id, listed, now=who.wiring.clock.now())
        made = await numbers.listed(scope, saved.id)
        await audit.record(scope, who.caller, "add", "number", str(made.id), {"address": given.address})
        return NumberView.model_validate(made, from_attributes=True)

    return await once(request, who, idempotency_key, add, status=201, location="/v1/numbers/{id}")


@router.get(
    "/numbers/{number_id}",
    tags=["Numbers"],
    operation_id="get_number",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_number(who: Who, number_id: UUID, response: Response) -> NumberView:
    """A number, with the ETag that a change needs."""
    async with who.scope() as scope:
        found = await numbers.listed(scope, number_id)
    response.headers["ETag"] = etag(found.version)
    return NumberView.model_validate(found, from_attributes=True)


@router.patch(
    "/numbers/{number_id}",
    tags=["Numbers"],
    operation_id="change_number",
    responses=describe(404, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def change_number(
    who: Who, number_id: UUID, given: NumberChange, response: Response, if_match: IfMatch = None
) -> NumberView:
    """Change who answers for a number, whether it is answered, and which Messaging Service sends. Needs `If-Match`."""
    version = demand(if_match)
    wanted = {name: getattr(given, name) for name in given.model_fields_set}
    if wanted.get("status", "") is None:
        del wanted["status"]
    async with who.scope() as scope:
        found = await numbers.listed(scope, number_id, lock=True)
        check_version(version, found.version)
        await _check_assistant(scope, wanted.get("assistant_id"))
        changed = await numbers.change(scope, found, **wanted)
        if changed != found:
            data = {"changed": sorted(name for name in wanted if getattr(changed, name) != getattr(found, name))}
            await audit.record(scope, who.caller, "change", "number", str(number_id), data)
    response.headers["ETag"] = etag(changed.version)
    return NumberView.model_validate(changed, from_attributes=True)


async def _senders(who: Visit, account_id: UUID) -> frozenset[str] | None:
    """What Twilio lists as the account's senders; outside of any transaction, which must not wait for Twilio."""
    settings = who.wiring.settings
    url = settings.twilio_messaging_url or settings.twilio_api_url
    return await proof.senders_of_ours(who.wiring.pool, who.wiring.keyring, who.owner_id, account_id, messaging_url=url)


async def _check_assistant(scope: Scope, assistant_id: UUID | None) -> None:
    if assistant_id is None:
        return
    try:
        await assistant.listed(scope, assistant_id)
    except NotFound:
        raise wrong("assistant_id", "is no assistant of this owner") from None
