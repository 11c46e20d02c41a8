"""Twilio's specifications as JSON Schema, to hold the simulator's answers against."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
from simulator_stage import ACCOUNT, TOKEN

DATA = Path(__file__).parents[1] / "data"


@cache
def _schemas(spec: str) -> dict[str, Any]:
    return dict(json.loads((DATA / f"twilio-openapi-{spec}.json").read_text())["components"])


def json_schema(spec: str, name: str) -> dict[str, Any]:
    """A schema of the specification as JSON Schema: OpenAPI 3.0 says `nullable`, JSON Schema says `type: null`."""

    def converted(node: Any) -> Any:
        if isinstance(node, list):
            return [converted(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = {key: converted(value) for key, value in node.items()}
        if node.pop("nullable", False) and "type" in node:
            node["type"] = [node["type"], "null"]
        return node

    components = _schemas(spec)
    return {**converted(components["schemas"][name]), "components": converted(components)}


def assert_is(name: str, answer: Any, spec: str = "messages") -> None:
    schema = json_schema(spec, name)
    jsonschema.validate(answer, schema)
    missing = set(schema["properties"]) - set(answer)
    assert not missing, f"not answered: {missing}"


def basic(user: str = ACCOUNT, password: str = TOKEN) -> dict[str, str]:
    """The header of these credentials."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def raw(
    base_url: str, method: str, path: str, token: str = TOKEN, json_body: Any = None, **form: str
) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(headers=basic(password=token)) as session,
        session.request(method, base_url + path, data=form or None, json=json_body, allow_redirects=False) as response,
    ):
        return response.status, await response.json() if response.content_length else None
