"""Looking for what must be nowhere: in every column of every table, catalogues too, in files, and at the simulator."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx2
import psycopg
from psycopg import sql

_TABLES = """
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname <> 'information_schema' ORDER BY 1, 2
"""


def written(mark: bytes) -> set[bytes]:
    """The mark in the ways in which it may stand somewhere: as it is, in hexadecimals, base64, URLs, JSON."""
    forms = {mark, mark.hex().encode(), mark.hex().upper().encode()}
    for start in range(3):
        encoded = base64.b64encode(b"\0" * start + mark + b"\0" * ((-start - len(mark)) % 3))
        # What of it depends on no neighbour.
        forms.add(encoded[4 if start else 0 : len(encoded) - 4])
    try:
        text = mark.decode()
    except UnicodeDecodeError:
        return forms
    for form in (quote(text), quote_plus(text), json.dumps(text)[1:-1], text.lower(), text.upper(), text[::-1]):
        forms.add(form.encode())
    forms |= {text.encode("utf-16-le"), text.encode("utf-16-be")}
    return {form for form in forms if len(form) >= 6}


Finder = Callable[[bytes], set[str]]


def _finder(marks: Mapping[str, bytes]) -> Finder:
    """What says which marks are in some bytes."""
    forms = {name: written(mark) for name, mark in marks.items()}
    return lambda held: {name for name, ways in forms.items() if any(way in held for way in ways)}


def in_database(url: str, marks: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Which marks are in which tables, whatever the column, of all schemas."""
    finder = _finder(marks)
    found: set[tuple[str, str]] = set()
    with psycopg.connect(url, autocommit=True) as conn:
        for schema, name in conn.execute(_TABLES).fetchall():
            table = sql.Identifier(schema, name)
            rows = conn.execute(sql.SQL("SELECT t::text FROM {} t").format(table)).fetchall()
            found |= {(f"{schema}.{name}", mark) for mark in finder("\n".join(row for (row,) in rows).encode())}
    return found


def in_files(folder: Path, marks: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Which marks are in which files under the folder, in their names or in what they hold."""
    finder = _finder(marks)
    found: set[tuple[str, str]] = set()
    for path in folder.rglob("*"):
        texts = [str(path.relative_to(folder)).encode()]
        if path.is_file():
            texts.append(path.read_bytes())
        found |= {(path.name, mark) for text in texts for mark in finder(text)}
    return found


def in_text(text: str, marks: Mapping[str, bytes]) -> set[str]:
    """Which marks are in it."""
    return _finder(marks)(text.encode())


def _pages(client: httpx2.Client, path: str) -> Iterator[dict[str, Any]]:
    while path:
        page = client.get(path)
        page.raise_for_status()
        yield page.json()
        path = page.json().get("next_page_uri") or (page.json().get("meta") or {}).get("next_page_url") or ""


def at_twilio(url: str, account_sid: str, token: str, marks: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Which marks the simulated Twilio still has: in messages, their files, contents, and its logs of either side."""
    finder = _finder(marks)
    found: set[tuple[str, str]] = set()

    def look(where: str, held: bytes) -> None:
        found.update((where, mark) for mark in finder(held))

    account = f"/2010-04-01/Accounts/{account_sid}"
    with httpx2.Client(base_url=url, auth=(account_sid, token), timeout=30, follow_redirects=False) as client:
        for page in _pages(client, f"{account}/Messages.json?PageSize=1000"):
            for message in page["messages"]:
                look("message", json.dumps(message, ensure_ascii=False).encode())
                media = client.get(f"{account}/Messages/{message['sid']}/Media.json").json()
                for one in media["media_list"]:
                    there = client.get(one["uri"].removesuffix(".json"))
                    look("file", httpx2.get(there.headers["Location"], timeout=30).content)
        for page in _pages(client, "/v1/Content?PageSize=500"):
            look("content", json.dumps(page["contents"], ensure_ascii=False).encode())
        for log in ("calls", "webhooks"):
            for entry in client.get(f"/sim/{log}").json()[log]:
                said = {**entry.get("form", {}), **entry.get("params", {})}
                look(log, json.dumps(said, ensure_ascii=False).encode())
    return found
