"""Routes that set up how messages come and go: Twilio accounts, the rotation of their tokens, numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import SecretStr

from recado.api.acting import IdempotencyKey, IfMatch, check_version, demand, etag, once
from recado.api.door import GuardedRoute, Visit, needs, visit
from recado.api.forms import (
    ApiKeyOfTwilio,
    NewNumber,
    NewTwilioAccount,
    NumberChange,
    SecondToken,
    TwilioAccountChange,
)
from recado.api.problems import Problem, describe, wrong
from recado.api.views import NumberView, TwilioAccountView
from recado.assistants import assistant
from recado.channels.twilio import accounts, listing, numbers, proof
from recado.channels.twilio.accounts import Secret
from recado.channels.twilio.listing import TwilioAccount
from recado.channels.twilio.proof import Verdict
from recado.db.scope import Scope
from recado.errors import Conflict, NotFound
from recado.identity import audit

router = APIRouter(prefix="/v1", route_class=GuardedRoute)
ADMIN = needs("admin")
Who = Annotated[Visit, Depends(visit)]
_CHANGING: dict[str, Any] = {
    "tags": ["Twilio accounts"],
    "response_model": TwilioAccountView,
    "responses": describe(404, 409, 412, 428, sends={200: ["ETag"]}),
    "openapi_extra": ADMIN,
}


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


async def _senders(who: Visit, account_id: UUID) -> frozenset[str] | None:
    """What Twilio lists as the account's senders; in no transaction either."""
    settings = who.wiring.settings
    url = settings.twilio_messaging_url or settings.twilio_api_url
    return await proof.senders_of_ours(who.wiring.pool, who.wiring.keyring, who.owner_id, account_id, messaging_url=url)


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
        made = await numbers.look(scope, saved.id, lock=True)
        await numbers.change(scope, made, messaging_service_sid=given.messaging_service_sid)
        await proof.keep_senders(scope, account.id, listed, now=who.wiring.clock.now())
        made = await numbers.look(scope, saved.id)
        await audit.record(scope, who.caller, "add", "number", str(made.id), {"address": given.address})
        return NumberView.model_validate(made, from_attributes=True)

    return await once(request, who, idempotency_key, add, status=201, location="/v1/numbers/{id}")


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
        found = await numbers.look(scope, number_id, lock=True)
        check_version(version, found.version)
        await _check_assistant(scope, wanted.get("assistant_id"))
        changed = await numbers.change(scope, found, **wanted)
        if changed != found:
            data = {"changed": sorted(name for name in wanted if getattr(changed, name) != getattr(found, name))}
            await audit.record(scope, who.caller, "change", "number", str(number_id), data)
    response.headers["ETag"] = etag(changed.version)
    return NumberView.model_validate(changed, from_attributes=True)


async def _check_assistant(scope: Scope, assistant_id: UUID | None) -> None:
    if assistant_id is None:
        return
    try:
        await assistant.look(scope, assistant_id)
    except NotFound:
        raise wrong("assistant_id", "is no assistant of this owner") from None
