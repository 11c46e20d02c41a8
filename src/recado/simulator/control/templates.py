"""Templates of the control API: which there are, and what WhatsApp decides about them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter, HTTPException

from recado.simulator.control.bodies import ApprovalBody
from recado.simulator.engine import Engine
from recado.simulator.rest.content import settle


def add_templates(router: APIRouter, engine: Engine) -> None:
    """Add the routes of templates."""

    @router.get("/templates")
    async def templates(account_sid: str | None = None) -> dict[str, Any]:
        shown = [content for content in engine.state.contents.values() if account_sid in (None, content.account_sid)]
        for content in shown:
            settle(engine, content)
        return {
            "templates": [
                {
                    "sid": content.sid,
                    "account_sid": content.account_sid,
                    "name": content.friendly_name,
                    "language": content.language,
                    "type": content.type,
                    "status": content.approval.status,
                }
                for content in shown
            ]
        }

    @router.post("/templates/{sid}/approval")
    async def decide(sid: str, body: ApprovalBody) -> dict[str, Any]:
        content = engine.state.contents.get(sid)
        if content is None:
            raise HTTPException(404, f"no template {sid}")
        content.approval = replace(
            content.approval,
            status=body.status,
            rejection_reason=body.rejection_reason,
            name=content.approval.name or content.friendly_name,
            content_type=content.type,
        )
        return {"sid": sid, **asdict(content.approval)}
