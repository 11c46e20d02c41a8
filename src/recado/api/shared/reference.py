"""The description of the API as a page for people: made here, from what `/openapi.json` says, with no script at all.

The framework's own page runs scripts of a third party's server on the origin of people's sessions, and shows
nothing without a way to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

#: Nothing is loaded but the one style sheet, nothing runs, nobody frames it, and no form leads elsewhere.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
PATH: Final = "/docs"
STYLE_PATH: Final = "/docs/style.css"
STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
nav { columns: 14rem; margin: 1rem 0 2rem; }
nav a { display: block; }
h2 { margin-top: 3rem; border-bottom: 1px solid; }
h3 { font-size: 1rem; margin: 2rem 0 .25rem; overflow-wrap: anywhere; }
h3 b { display: inline-block; min-width: 4.5rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
p { margin: .25rem 0; white-space: pre-line; }
table { border-collapse: collapse; margin: .5rem 0; }
td, th { border: 1px solid #8886; padding: .2rem .5rem; text-align: left; vertical-align: top; }
details { margin: .25rem 0; }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block; border: 0; }
  tr { border-left: 3px solid #8886; margin: .5rem 0; }
  th { display: none; }
  td { padding: 0 .5rem; overflow-wrap: anywhere; }
}
"""

_CODE: Final = re.compile(r"`([^`\n]+)`")
_METHODS: Final = ("get", "post", "put", "patch", "delete")


def render(description: Mapping[str, Any]) -> str:
    """The page. Every text of the description is escaped: none of it is markup."""
    parts = list(_parts(description))
    return "".join(parts)


def _parts(description: Mapping[str, Any]) -> Iterator[str]:
    info = description["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield f'<link rel="stylesheet" href="{STYLE_PATH}"><h1>{title}</h1><p>{_text(info.get("description", ""))}</p>'
    yield '<p><a href="/openapi.json">openapi.json</a> says the same for programs.</p>'
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in description["paths"].items():
        for method in _METHODS:
            if method in operations:
                tag = (operations[method].get("tags") or ["Other"])[0]
                by_tag.setdefault(tag, []).append((method, path, operations[method]))
    yield '<nav><a href="#access">Who may ask</a>'
    for tag in by_tag:
        yield f'<a href="#{_anchor(tag)}">{escape(tag)}</a>'
    yield '<a href="#schemas">Forms</a></nav><h2 id="access">Who may ask</h2>'
    for name, way in description.get("components", {}).get("securitySchemes", {}).items():
        shown = "<code>Authorization: Bearer</code>" if way.get("scheme") == "bearer" else f"the {escape(way['in'])}"
        named = f" <code>{escape(way['name'])}</code>" if "name" in way else ""
        yield f"<h3>{escape(name)}</h3><p>By {shown}{named}. {_text(way.get('description', ''))}</p>"
    for tag, operations in by_tag.items():
        yield f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>'
        for method, path, operation in operations:
            yield from _operation(method, path, operation)
    yield '<h2 id="schemas">Forms</h2>'
    for name, schema in description.get("components", {}).get("schemas", {}).items():
        yield f'<h3 id="{_anchor("schema-" + name)}">{escape(name)}</h3><p>{_text(schema.get("description", ""))}</p>'
        yield from _fields(schema)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    anchor = _anchor(str(operation.get("operationId", method + path)))
    yield f'<h3 id="{anchor}"><b>{method.upper()}</b> <code>{escape(path)}</code></h3>'
    yield f"<p>{_text(str(operation.get('description') or operation.get('summary') or ''))}</p>"
    needed = [
        f"{name}{': ' + ', '.join(scopes) if scopes else ''}"
        for way in operation.get("security", [])
        for name, scopes in way.items()
    ]
    if needed:
        yield f"<p>Needs {escape(' or '.join(needed))}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter<th>in<th>is<th>"
        for one in parameters:
            name = escape(one["name"]) + ("" if one.get("required") else " (optional)")
            schema = one.get("schema", {})
            yield f"<tr><td><code>{name}</code><td>{escape(one['in'])}<td>{_kind(schema)}{_limits(schema)}"
            yield f"<td>{_text(one.get('description', ''))}"
        yield "</table>"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(media_type)}</code> {_kind(content.get('schema', {}))}</p>"
    yield "<details><summary>Answers</summary><table>"
    for status, answer in operation.get("responses", {}).items():
        kinds = " ".join(
            f"<code>{escape(media_type)}</code> {_kind(content.get('schema', {}))}"
            for media_type, content in answer.get("content", {}).items()
        )
        yield f"<tr><td>{escape(str(status))}<td>{_text(answer.get('description', ''))}<td>{kinds}"
    yield "</table></details>"


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    properties = schema.get("properties")
    if not properties:
        yield f"<p>{_kind(schema)}</p>"
        return
    required = schema.get("required", [])
    yield "<table><tr><th>field<th>is<th>"
    for name, one in properties.items():
        shown = escape(name) + ("" if name in required else " (optional)")
        yield f"<tr><td><code>{shown}</code><td>{_kind(one)}{_limits(one)}<td>{_text(one.get('description', ''))}"
    yield "</table>"
    for example in schema.get("examples", []):
        yield f"<p>For instance <code>{escape(json.dumps(example, ensure_ascii=False))}</code></p>"


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, in a word or a link to its form."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f'<a href="#{_anchor("schema-" + name)}">{escape(name)}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_kind(one) for one in schema[several])
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return "list of " + _kind(schema.get("items", {}))
    return escape(" ".join(str(schema[name]) for name in ("type", "format") if name in schema) or "anything")


#: What JSON Schema says of a value's limits, in words.
_LIMITS: Final = {
    "minimum": "from {}",
    "maximum": "to {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} long",
    "maxLength": "at most {} long",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "maxProperties": "at most {} of them",
    "pattern": "like {}",
    "default": "else {}",
}


def _limits(schema: Mapping[str, Any]) -> str:
    """What a value is held to, and what counts where it is not given; of a choice, what each is held to."""
    told = [
        words.format(f"<code>{escape(json.dumps(schema[name], ensure_ascii=False))}</code>")
        for name, words in _LIMITS.items()
        if schema.get(name) not in (None, "", [], {})
    ]
    told += [inner.removeprefix(", ") for one in schema.get("anyOf", []) if (inner := _limits(one))]
    return ", " + ", ".join(told) if told else ""


def _text(text: str) -> str:
    """A description's words, what stands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _anchor(text: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text)
