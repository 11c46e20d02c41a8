"""Webhooks: where an owner's events are posted, for the owner's admins; an address may be a secret itself."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from recado.api.shared import examples, pages
from recado.api.shared.door import ADMIN, GuardedRoute, Who
from recado.api.shared.forms import NO_NUL, Given
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import Problem, describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.db.scope import Scope
from recado.errors import Busy, SecretError, UsageError
from recado.fair import Gate
from recado.identity import audit
from recado.webhooks import endpoints
from recado.webhooks.endpoints import Attempt, Webhook, Why
from recado.webhooks.post import OUTCOMES, Outcome, Poster
from recado.webhooks.trial import post_test

#: Tests that one process posts at once, in shares of the owners; one waits so long for its turn.
TESTS: Final = 8
TURN_S: Final = 3.0
_URL: Final = "https://crm.padaria.example/recado"

_tests = Gate(TESTS)

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        pattern=NO_NUL,
        examples=[_URL],
        description="Where events are posted: https, to the public internet.",
    ),
]
Types = Annotated[
    list[Annotated[str, Field(pattern=endpoints.TYPE)]],
    Field(
        max_length=endpoints.MOST_TYPES,
        examples=[["accept.received", "confirm.*"]],
        description="Which events: a step and what happened, or all of a step. Empty: all.",
    ),
]
Description = Annotated[str, Field(max_length=endpoints.DESCRIPTION_CHARS, pattern=NO_NUL)]
Secret = Annotated[
    str,
    Field(
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        description="What verifies the posts, which can't be had again.",
    ),
]


class WebhookView(BaseModel):
    """An endpoint to which the owner's events are posted. `version` is its ETag."""

    id: Annotated[UUID, Field(examples=[examples.OTHER_ID])]
    url: Url
    description: Description
    types: Types
    status: Literal["enabled", "disabled"]
    disabled_why: Annotated[
        Why | None,
        Field(description="; ".join(f"`{word}`: {means}" for word, means in endpoints.WHYS.items()) + "."),
    ]
    disabled_at: datetime | None
    reached: Annotated[str, Field(description="The newest event that it was posted, or that waits.", examples=["4711"])]
    waiting: Annotated[int, Field(description="Events that it refused, and later ones of their conversations.")]
    failing_since: Annotated[datetime | None, Field(description="Since when it has taken nothing.")]
    last_success_at: datetime | None
    previous_secret_until: Annotated[
        datetime | None, Field(description="Until when the secret before the present one signs beside it.")
    ]
    version: int
    created_at: datetime


class NewWebhookView(WebhookView):
    """An endpoint with its new secret, shown this once."""

    secret: Secret


class NewWebhook(Given):
    """An endpoint to add."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": _URL, "types": ["accept.received", "confirm.*"]}]}
    )

    url: Url
    types: Annotated[Types, Field(default_factory=list)]
    description: Description = ""


class WebhookChange(Given):
    """What of an endpoint changes; fields that are not given stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"status": "enabled"}]})

    url: Url | None = None
    types: Types | None = None
    description: Description | None = None
    status: Literal["enabled", "disabled"] | None = None


class Replay(Given):
    """From when on an endpoint gets its events again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"since": "2026-11-28T06:00:00Z"}]})

    since: Annotated[AwareDatetime, Field(description="Not in the future, and with its offset.")]


class Rotation(Given):
    """How long the secret before goes on signing beside the new one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"keep_hours": 24}]})

    keep_hours: Annotated[int, Field(ge=0, le=168, description="0: it ends at once, after a leak for instance.")] = 24


class TriedView(BaseModel):
    """What became of a post."""

    outcome: Annotated[Outcome, Field(description=" ".join(f"`{word}`: {means}" for word, means in OUTCOMES.items()))]
    http_status: int | None
    duration_ms: int


class AttemptView(TriedView):
    """A post to an endpoint; those of the test have no event."""

    id: UUID
    event_id: str | None
    type: Annotated[str, Field(examples=["confirm.delivered"])]
    at: datetime


router = APIRouter(prefix="/v1", route_class=GuardedRoute)


@router.get("/webhooks", tags=["Webhooks"], operation_id="list_webhooks", responses=describe(), openapi_extra=ADMIN)
async def list_webhooks(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[WebhookView]:
    """The endpoints to which the owner's events are posted, oldest first; never their secrets."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(WebhookView, await endpoints.page(scope, after=after, limit=limit), limit, show=webhook_view)


@router.post(
    "/webhooks",
    tags=["Webhooks"],
    operation_id="add_webhook",
    status_code=201,
    response_model=NewWebhookView,
    responses=describe(409, sends={201: ["ETag", "Location"]}),
    openapi_extra=ADMIN,
)
async def add_webhook(
    request: Request, who: Who, given: NewWebhook, idempotency_key: IdempotencyKey = None
) -> Response:
    """Add an endpoint, which gets what happens from now on; its secret is in this answer and nowhere else.

    Posts are signed as https://www.standardwebhooks.com says. 409 for the eleventh.
    """

    async def add(scope: Scope) -> NewWebhookView:
        try:
            made, secret = await endpoints.add(
                scope,
                who.wiring.keyring,
                url=given.url,
                types=given.types,
                description=given.description,
                networks=who.wiring.settings.webhook_networks,
            )
        except UsageError as error:
            raise wrong("url", str(error)) from None
        await audit.record(scope, who.caller, "add", "webhook", str(made.id), {"types": made.types})
        return NewWebhookView(**webhook_view(made).model_dump(), secret=secret)

    return await once(request, who, idempotency_key, add, status=201, location="/v1/webhooks/{id}")


@router.get(
    "/webhooks/{webhook_id}",
    tags=["Webhooks"],
    operation_id="get_webhook",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def get_webhook(who: Who, webhook_id: UUID, response: Response) -> WebhookView:
    """An endpoint, with the ETag that a change needs."""
    async with who.scope() as scope:
        found = await endpoints.get(scope, webhook_id)
    response.headers["ETag"] = etag(found.version)
    return webhook_view(found)


@router.patch(
    "/webhooks/{webhook_id}",
    tags=["Webhooks"],
    operation_id="change_webhook",
    responses=describe(404, 412, 428, sends={200: ["ETag"]}),
    openapi_extra=ADMIN,
)
async def change_webhook(
    who: Who, webhook_id: UUID, given: WebhookChange, response: Response, if_match: IfMatch = None
) -> WebhookView:
    """Change where to and what is posted, disable an endpoint, or have it go on where it stood. Needs `If-Match`."""
    version = demand(if_match)
    async with who.scope() as scope:
        found = await endpoints.get(scope, webhook_id, lock=True)
        check_version(version, found.version)
        try:
            changed = await endpoints.change(
                scope,
                found,
                url=given.url,
                types=given.types,
                description=given.description,
                status=given.status,
                networks=who.wiring.settings.webhook_networks,
            )
        except UsageError as error:
            raise wrong("url", str(error)) from None
        if changed.version != found.version:
            data = {"changed": sorted(given.model_fields_set)}
            await audit.record(scope, who.caller, "change", "webhook", str(webhook_id), data)
    response.headers["ETag"] = etag(changed.version)
    return webhook_view(changed)


@router.delete(
    "/webhooks/{webhook_id}",
    tags=["Webhooks"],
    operation_id="remove_webhook",
    responses=describe(404),
    openapi_extra=ADMIN,
)
async def remove_webhook(who: Who, webhook_id: UUID) -> WebhookView:
    """Remove an endpoint: it gets nothing more, and what waited for it is forgotten."""
    async with who.scope() as scope:
        gone = await endpoints.remove(scope, webhook_id)
        await audit.record(scope, who.caller, "remove", "webhook", str(webhook_id))
    return webhook_view(gone)


@router.get(
    "/webhooks/{webhook_id}/attempts",
    tags=["Webhooks"],
    operation_id="list_webhook_attempts",
    responses=describe(404),
    openapi_extra=ADMIN,
)
async def list_webhook_attempts(who: Who, webhook_id: UUID) -> Page[AttemptView]:
    """The last 50 posts to an endpoint and what became of them, newest first; of answers nothing is kept."""
    async with who.scope() as scope:
        found = await endpoints.attempts(scope, webhook_id)
    return Page[AttemptView](items=[attempt_view(one) for one in found], next=None)


@router.post(
    "/webhooks/{webhook_id}/test",
    tags=["Webhooks"],
    operation_id="try_webhook",
    responses=describe(404, 409),
    openapi_extra=ADMIN,
)
async def try_webhook(who: Who, webhook_id: UUID) -> TriedView:
    """Post a signed event of the type `webhooks.test` to an endpoint now, a disabled one too: what became of it.

    An endpoint that takes it gets at once what waits for it.
    """
    wiring = who.wiring
    poster = Poster(wiring.settings.webhook_networks)
    try:
        async with asyncio.timeout(TURN_S) as waiting, _tests.turn(who.owner_id):
            waiting.reschedule(None)
            posted = await post_test(wiring.pool, wiring.keyring, wiring.clock, poster, who.owner_id, webhook_id)
    except TimeoutError:
        raise Busy(1) from None
    except SecretError:
        raise Problem(409, "the webhook's secret can't be decrypted: rotate it") from None
    finally:
        await poster.aclose()
    return TriedView.model_validate(posted, from_attributes=True)


@router.post(
    "/webhooks/{webhook_id}/replay",
    tags=["Webhooks"],
    operation_id="replay_webhook",
    response_model=WebhookView,
    responses=describe(404),
    openapi_extra=ADMIN,
)
async def replay_webhook(
    request: Request, who: Who, webhook_id: UUID, given: Replay, idempotency_key: IdempotencyKey = None
) -> Response:
    """Have an endpoint get what happened since a moment once more, with the same ids, and then go on from there.

    Some of the minute before may come too. What waited from before that moment is left out.
    """

    async def again(scope: Scope) -> WebhookView:
        try:
            found = await endpoints.replay(scope, webhook_id, given.since, now=who.wiring.clock.now())
        except UsageError as error:
            raise wrong("since", str(error)) from None
        data = {"since": given.since.isoformat()}
        await audit.record(scope, who.caller, "replay", "webhook", str(webhook_id), data)
        return webhook_view(found)

    return await once(request, who, idempotency_key, again, status=200)


@router.post(
    "/webhooks/{webhook_id}/rotate-secret",
    tags=["Webhooks"],
    operation_id="rotate_webhook_secret",
    response_model=NewWebhookView,
    responses=describe(404, 409),
    openapi_extra=ADMIN,
)
async def rotate_webhook_secret(
    request: Request, who: Who, webhook_id: UUID, given: Rotation, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give an endpoint a new secret, shown this once; meanwhile posts carry a signature of each of the two."""

    async def rotate(scope: Scope) -> NewWebhookView:
        try:
            found, secret = await endpoints.rotate(
                scope,
                who.wiring.keyring,
                webhook_id,
                keep=timedelta(hours=given.keep_hours),
                now=who.wiring.clock.now(),
            )
        except SecretError:
            raise Problem(409, "the secret before can't be decrypted: rotate with keep_hours 0") from None
        data = {"keep_hours": given.keep_hours}
        await audit.record(scope, who.caller, "rotate", "webhook", str(webhook_id), data)
        return NewWebhookView(**webhook_view(found).model_dump(), secret=secret)

    return await once(request, who, idempotency_key, rotate, status=200)


def webhook_view(found: Webhook) -> WebhookView:
    """What is shown of an endpoint."""
    return WebhookView(
        id=found.id,
        url=found.url,
        description=found.description,
        types=found.types,
        status=found.status,
        disabled_why=found.disabled_why,
        disabled_at=found.disabled_at,
        reached=str(found.reached),
        waiting=found.waiting,
        failing_since=found.failing_since,
        last_success_at=found.last_success_at,
        previous_secret_until=found.previous_until,
        version=found.version,
        created_at=found.created_at,
    )


def attempt_view(one: Attempt) -> AttemptView:
    """What is shown of an attempt."""
    return AttemptView(
        id=one.id,
        event_id=None if one.event_id is None else str(one.event_id),
        type=one.type,
        at=one.at,
        outcome=one.outcome,
        http_status=one.http_status,
        duration_ms=one.duration_ms,
    )
