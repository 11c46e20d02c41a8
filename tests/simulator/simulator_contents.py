"""Contents that the tests make and send over the simulator's Content API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from simulator_specs import raw
from simulator_stage import CONTACT, NUMBER
from twilio.rest import Client

from recado.simulator.client import SimulatorClient
from recado.simulator.views import Template

T = TypeVar("T")
QUICK_REPLY = {
    "twilio/quick-reply": {
        "body": "Confirma {{1}}?",
        "actions": [
            {"title": "Confirmar", "id": "yes_{{2}}"},
            {"type": "QUICK_REPLY", "title": "Remarcar", "id": "no"},
        ],
    },
    "twilio/text": {"body": "Confirma {{1}}? Responda SIM ou NÃO."},
}
LIST_PICKER = {
    "twilio/list-picker": {
        "body": "O que deseja?",
        "button": "Ver opções",
        "items": [
            {"id": "invoice_copy", "item": "Segunda via", "description": "Receber o boleto"},
            {"id": "person", "item": "Falar com alguém"},
        ],
    }
}


async def call(work: Callable[..., T], *args: Any, **fields: Any) -> T:
    return await asyncio.to_thread(work, *args, **fields)


async def create(sim: SimulatorClient, types: dict[str, Any], **more: Any) -> str:
    body = {"friendly_name": "x", "language": "pt_BR", "types": types, "variables": {}, **more}
    status, made = await raw(sim.base_url, "POST", "/v1/Content", json_body=body)
    assert status == 201, made
    return str(made["sid"])


async def send(twilio: Client, sid: str, variables: dict[str, str] | None = None, **fields: str) -> str:
    form = {"to": CONTACT, "from_": NUMBER, "content_sid": sid, **fields}
    return str((await call(twilio.messages.create, content_variables=json.dumps(variables or {}), **form)).sid)


async def template(sim: SimulatorClient, name: str, language: str = "pt_BR") -> Template:
    (found,) = [each for each in await sim.templates() if (each.name, each.language) == (name, language)]
    return found
