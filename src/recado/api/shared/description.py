"""Completes the OpenAPI description of `/v1`: what any body can be refused for, and an example of every answer.

Examples are put together from those of the fields, so that none is written twice and none can miss a field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from recado.api.shared import examples
from recado.api.shared.problems import of_status

_JSON: Final = "application/json"
_MOMENT: Final = "2026-11-23T14:05:00Z"


def complete(schema: dict[str, Any]) -> None:
    """Add to each operation under `/v1` what its declaration does not say."""
    schemas = schema["components"]["schemas"]
    for operation in _operations(schema):
        if body := operation.get("requestBody"):
            for status in (400, 415):
                operation["responses"].setdefault(str(status), of_status(status))
            _exemplify(body, schemas)
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                _exemplify(response, schemas)


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path, item in schema["paths"].items():
        if path.startswith("/v1/"):
            yield from item.values()


def _exemplify(carrier: dict[str, Any], schemas: dict[str, Any]) -> None:
    content = carrier.get("content", {}).get(_JSON)
    if content is not None and "example" not in content:
        content["example"] = example(content["schema"], schemas)


def example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """An instance of the schema: its own example if it has one, else one made of its parts' examples."""
    if own := schema.get("examples"):
        return own[0]
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return example(choices[0], schemas)
    kind = schema.get("type")
    if kind == "object":
        return {name: example(part, schemas) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema["items"], schemas)] if "items" in schema else []
    if kind == "string":
        return {"uuid": examples.ID, "date-time": _MOMENT}.get(schema.get("format", ""), "text")
    return {"integer": schema.get("minimum", 1), "number": 0.5, "boolean": False}.get(kind or "")
