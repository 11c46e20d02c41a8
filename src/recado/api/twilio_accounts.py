"""Twilio accounts: through which messages come and go, and the rotation of their tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from recado.api.shared import pages
from recado.api.shared.door import ADMIN, READ, GuardedRoute, Visit, Who
from recado.api.shared.forms import NO_NUL, SID, Given
from recado.api.shared.once import IdempotencyKey, once
from recado.api.shared.pages import Cursor, Limit, Page
from recado.api.shared.problems import Problem, describe, wrong
from recado.api.shared.versions import IfMatch, check_version, demand, etag
from recado.channels.twilio import accounts, listing, proof
from recado.channels.twilio.accounts import Secret
from recado.channels.twilio.listing import TwilioAccount
from recado.channels.twilio.proof import Verdict
from recado.db.scope import Scope
from recado.errors import Conflict
from recado.identity import audit

_SID: Final = "0123456789abcdef0123456789abcdef"
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


class TwilioAccountView(BaseModel):
    """A Twilio account; what opens it is never shown. `version` is its ETag."""

    id: UUID
    account_sid: Annotated[str, Field(examples=["AC" + "0" * 32])]
    api_key_sid: Annotated[
        str | None, Field(examples=["SK" + "0" * 32], description="Null: messages are sent with the account's token.")
    ]
    public_url: Annotated[
        str | None,
        Field(examples=["https://hooks.example.com"], description="Null: Twilio calls the installation's address."),
    ]
    rotating: Annotated[bool, Field(description="Whether a second auth token counts beside the first.")]
    proven: Annotated[
        bool,
        Field(
            description="Whether Twilio has confirmed AccountSid and token. Until then whoever proves that the account "
            "is theirs gets it."
        ),
    ]
    removed_at: datetime | None
    removed_why: Annotated[
        Literal["removed", "lost"] | None,
        Field(
            description="`removed` by its owner, or `lost` to another who proved it. Adding it again brings it back."
        ),
    ]
    version: int
    created_at: datetime
    updated_at: datetime


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


router = APIRouter(prefix="/v1", route_class=GuardedRoute)
_CHANGING: dict[str, Any] = {
    "tags": ["Twilio accounts"],
    "response_model": TwilioAccountView,
    "responses": describe(404, 409, 412, 428, sends={200: ["ETag"]}),
    "openapi_extra": ADMIN,
}


@router.get(
    "/twilio-accounts",
    tags=["Twilio accounts"],
    operation_id="list_twilio_accounts",
    responses=describe(),
    openapi_extra=READ,
)
async def list_twilio_accounts(who: Who, cursor: Cursor = None, limit: Limit = pages.LIMIT) -> Page[TwilioAccountView]:
    """The owner's Twilio accounts, oldest first."""
    after = pages.read(cursor)
    async with who.scope() as scope:
        return pages.page(TwilioAccountView, await listing.accounts(scope, after=after, limit=limit), limit)


@router.post(
    "/twilio-accounts",
    tags=["Twilio accounts"],
    operation_id="add_twilio_account",
    status_code=201,
    response_model=TwilioAccountView,
    responses=describe(409, sends={201: ["ETag", "Location"]}),
    openapi_extra=ADMIN,
)
async def add_twilio_account(
    request: Request, who: Who, given: NewTwilioAccount, idempotency_key: IdempotencyKey = None
) -> Response:
    """Add a Twilio account, once Twilio has confirmed its token; its secrets are kept encrypted and never shown.

    What Twilio refuses is 422 and not saved. Where Twilio can't be reached the account is added all the same, with
    `proven` false: it works, and is lost to whoever proves that it is theirs.
    """
    token = _secret(who, "auth_token", given.auth_token, given.auth_token_ref)
    second = _secret(who, "secondary_token", given.secondary_token, given.secondary_token_ref)
    if token is None:
        raise wrong("auth_token", "is needed")
    key = _key(who, given.api_key)
    verdict = await _tried(who, given.account_sid, token)

    async def add(scope: Scope) -> TwilioAccountView:
        keyring, sid = who.wiring.keyring, {"account_sid": given.account_sid}
        proven_at = _proven_at(who, verdict)
        saved = await accounts.add_account(
            scope, keyring, auth_token=token.value, auth_token_ref=token.reference, proven_at=proven_at, **sid
        )
        if saved.outcome != "made":
            raise Conflict("the owner has this Twilio account already: change that one")
        if second is not None:
            await accounts.rotate_token(scope, keyring, auth_token=second.value, auth_token_ref=second.reference, **sid)
        if given.api_key is not None:
            await accounts.set_api_key(scope, keyring, key_sid=given.api_key.sid, secret=key, **sid)
        if given.public_url is not None:
            await accounts.set_public_url(scope, public_url=given.public_url, **sid)
        data = {**sid, "proven": proven_at is not None}
        await audit.record(scope, who.caller, "add", "twilio_account", str(saved.id), data)
        return await _account(scope, saved.id)

    return await once(request, who, idempotency_key, add, status=201, location="/v1/twilio-accounts/{id}")


@router.get(
    "/twilio-accounts/{account_id}",
    tags=["Twilio accounts"],
    operation_id="get_twilio_account",
    responses=describe(404, sends={200: ["ETag"]}),
    openapi_extra=READ,
)
async def get_twilio_account(who: Who, account_id: UUID, response: Response) -> TwilioAccountView:
    """A Twilio account, with the ETag that a change needs."""
    async with who.scope() as scope:
        found = await listing.account(scope, account_id)
    response.headers["ETag"] = etag(found.version)
    return TwilioAccountView.model_validate(found, from_attributes=True)


@router.patch("/twilio-accounts/{account_id}", operation_id="change_twilio_account", **_CHANGING)
async def change_twilio_account(
    request: Request, who: Who, account_id: UUID, given: TwilioAccountChange, if_match: IfMatch = None
) -> Response:
    """Change a Twilio account: its token, the API key it sends with, where Twilio calls it. Needs `If-Match`.

    A token is tried as a new account's is; giving the same one again proves an account that was added unproven.
    """
    token = _secret(who, "auth_token", given.auth_token, given.auth_token_ref)
    key = _key(who, given.api_key)
    verdict: Verdict = "unknown"
    if token is not None:
        async with who.scope() as scope:
            known = await listing.account(scope, account_id)
        verdict = await _tried(who, known.account_sid, token)

    async def change(scope: Scope, found: TwilioAccount) -> dict[str, Any]:
        keyring, sid = who.wiring.keyring, {"account_sid": found.account_sid}
        changed = []
        if token is not None:
            proven_at = _proven_at(who, verdict)
            saved = await accounts.add_account(
                scope, keyring, auth_token=token.value, auth_token_ref=token.reference, proven_at=proven_at, **sid
            )
            if saved.outcome == "changed":
                changed.append("auth_token")
        if "api_key" in given.model_fields_set:
            key_sid = given.api_key.sid if given.api_key else ""
            if await accounts.set_api_key(scope, keyring, key_sid=key_sid, secret=key, **sid):
                changed.append("api_key")
        if "public_url" in given.model_fields_set and await accounts.set_public_url(
            scope, public_url=given.public_url, **sid
        ):
            changed.append("public_url")
        return {"changed": changed} if changed else {}

    return await _change(request, who, account_id, if_match, None, "change", change)


@router.delete(
    "/twilio-accounts/{account_id}",
    tags=["Twilio accounts"],
    operation_id="remove_twilio_account",
    responses=describe(404),
    openapi_extra=ADMIN,
)
async def remove_twilio_account(who: Who, account_id: UUID) -> TwilioAccountView:
    """Give a Twilio account up: its secrets are deleted, its webhooks refused, what waits to be sent is held.

    Numbers, conversations and messages stay and are shown. Once more changes nothing.
    """
    async with who.scope() as scope:
        found = await listing.account(scope, account_id, lock=True)
        if found.removed_at is None:
            await accounts.remove_account(scope, account_sid=found.account_sid, now=who.wiring.clock.now())
            data = {"account_sid": found.account_sid}
            await audit.record(scope, who.caller, "remove", "twilio_account", str(account_id), data)
        return await _account(scope, account_id)


@router.post("/twilio-accounts/{account_id}/rotate", operation_id="rotate_token", **_CHANGING)
async def rotate_token(
    request: Request,
    who: Who,
    account_id: UUID,
    given: SecondToken,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Begin a rotation: accept a second auth token beside the first, and send with it. Needs `If-Match`."""
    token = _secret(who, "auth_token", given.auth_token, given.auth_token_ref)
    if token is None:
        raise wrong("auth_token", "is needed")

    async def rotate(scope: Scope, found: TwilioAccount) -> dict[str, Any]:
        changed = await accounts.rotate_token(
            scope,
            who.wiring.keyring,
            account_sid=found.account_sid,
            auth_token=token.value,
            auth_token_ref=token.reference,
        )
        return {"account_sid": found.account_sid} if changed else {}

    return await _change(request, who, account_id, if_match, idempotency_key, "rotate", rotate)


@router.post("/twilio-accounts/{account_id}/finish-rotation", operation_id="finish_rotation", **_CHANGING)
async def finish_rotation(
    request: Request,
    who: Who,
    account_id: UUID,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """End a rotation: the second auth token is the only one from now on, the first is dropped. Needs `If-Match`."""

    async def finish(scope: Scope, found: TwilioAccount) -> dict[str, Any]:
        if not found.rotating:
            raise Conflict("there is no second token to go over to: give it first, with `rotate`")
        await accounts.rotate_token(scope, who.wiring.keyring, account_sid=found.account_sid)
        return {"account_sid": found.account_sid}

    return await _change(request, who, account_id, if_match, idempotency_key, "finish_rotation", finish)


@router.post("/twilio-accounts/{account_id}/cancel-rotation", operation_id="cancel_rotation", **_CHANGING)
async def cancel_rotation(
    request: Request,
    who: Who,
    account_id: UUID,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Give a rotation up: the second auth token is dropped, the first alone counts again. Needs `If-Match`."""

    async def cancel(scope: Scope, found: TwilioAccount) -> dict[str, Any]:
        if not await accounts.drop_second_token(scope, account_sid=found.account_sid):
            raise Conflict("no rotation is under way")
        return {"account_sid": found.account_sid}

    return await _change(request, who, account_id, if_match, idempotency_key, "cancel_rotation", cancel)


async def _change(
    request: Request,
    who: Visit,
    account_id: UUID,
    if_match: str | None,
    idempotency_key: str | None,
    action: str,
    work: Callable[[Scope, TwilioAccount], Awaitable[dict[str, Any]]],
) -> Response:
    """Do `work` on the version that was read; what it says that changed stands in the audit, nothing does not."""
    version = demand(if_match)

    async def change(scope: Scope) -> TwilioAccountView:
        found = await listing.account(scope, account_id, lock=True)
        check_version(version, found.version)
        if found.removed_at is not None:
            raise Conflict("this Twilio account was removed: add it again")
        if data := await work(scope, found):
            await audit.record(scope, who.caller, action, "twilio_account", str(account_id), data)
        return await _account(scope, account_id)

    return await once(request, who, idempotency_key, change, status=200)


async def _tried(who: Visit, account_sid: str, token: Secret) -> Verdict:
    """What Twilio says of them; outside of any transaction, which must not wait for Twilio."""
    return await proof.prove(account_sid, token, api_url=who.wiring.settings.twilio_api_url)


def _proven_at(who: Visit, verdict: Verdict) -> datetime | None:
    """When it was proven, which is now, or never. Raises Problem (422) for what Twilio refuses."""
    if verdict == "refused":
        raise wrong("auth_token", f"{proof.REFUSED}: nothing was saved")
    return who.wiring.clock.now() if verdict == "proven" else None


async def _account(scope: Scope, account_id: UUID) -> TwilioAccountView:
    return TwilioAccountView.model_validate(await listing.account(scope, account_id), from_attributes=True)


def _secret(who: Visit, field: str, value: SecretStr | None, reference: str | None) -> Secret | None:
    """What was given of a secret. Raises Problem: 403 for a reference of a caller who may not read the machine.

    A reference names the environment, files or vault of the installation: an owner who could set one would read them.
    """
    if reference is not None and who.caller.kind != "platform":
        raise Problem(403, "only the platform's administrators may say where a secret is kept: give its value instead")
    if value is not None and reference is not None:
        raise wrong(field, "is given twice, by value and by reference")
    if value is None and reference is None:
        return None
    return Secret(value.get_secret_value() if value is not None else None, reference)


def _key(who: Visit, given: ApiKeyOfTwilio | None) -> Secret | None:
    if given is None:
        return None
    secret = _secret(who, "api_key.secret", given.secret, given.secret_ref)
    if secret is None:
        raise wrong("api_key.secret", "is needed")
    return secret
