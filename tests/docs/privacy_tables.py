"""The tables of docs/explain/privacy.md, as the code has them: run this file to print them."""

from __future__ import annotations

from collections.abc import Iterator

from recado.identity.kept_answers import KEPT
from recado.identity.retention import LEAST_DAYS
from recado.ops.privacy.where import PLACES, TABLES, Table
from recado.ops.retention import KEEP_DAYS


def _named(columns: tuple[str, ...]) -> str:
    return " ".join(f"`{column}`" for column in columns)


def _goes(table: Table) -> str:
    if table.kept:
        return table.kept
    if table.copies:
        return f"with the erasure; copies of {table.copies}" if ":" not in table.copies else "with the erasure"
    return "with the erasure" if table.found else "with the user" if table.users else ""


def of_contacts() -> Iterator[str]:
    """Every table that holds something of contacts, and when it goes."""
    yield "| table | says something of a contact | goes |"
    yield "|---|---|---|"
    for table in TABLES:
        if table.contact:
            schema = "" if table.schema == "recado" else f"{table.schema}."
            yield f"| `{schema}{table.name}` | {_named(table.contact)} | {_goes(table)} |"


def of_users() -> Iterator[str]:
    """Every table that holds something of the people who work with it."""
    yield "| table | says something of a user |"
    yield "|---|---|"
    for table in TABLES:
        if table.users and table.schema == "recado":
            yield f"| `{table.name}` | {_named(table.users)} |"


def places() -> Iterator[str]:
    """Where else personal data is."""
    yield "| place | holds | goes |"
    yield "|---|---|---|"
    for place in PLACES:
        yield f"| {place.name} | {place.holds} | {place.goes} |"


def periods() -> Iterator[str]:
    """How long what is kept, if nobody says otherwise, and what an owner may say."""
    yield "| what | if nothing is set | shortest period |"
    yield "|---|---|---|"
    for what, days in LEAST_DAYS.items():
        yield f"| `{what}` | for good | {days} day{'s' if days > 1 else ''} |"
    yield f"| workflows that have ended | {KEEP_DAYS} days | not an owner's to set |"
    hours = int(KEPT.total_seconds() // 3600)
    yield f"| answers kept for an `Idempotency-Key` | {hours} hours | not an owner's to set |"


if __name__ == "__main__":
    for table in (of_contacts, of_users, places, periods):
        print("\n".join(table()), end="\n\n")
