"""Lists: `{"items": [...], "next": cursor or null}`. A cursor names the last thing of its page.

A cursor needs no signature: it is checked to be one, and row-level security stands behind what it can reach.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Generic, Protocol, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from recado.api.shared.problems import FieldError, Problem

LIMIT: Final = 50
MOST: Final = 100

T = TypeVar("T")
V = TypeVar("V", bound=BaseModel)

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many items at most.")]
Cursor = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_-]{22}$",
        description="`next` of the page before. Not given: the first page.",
    ),
]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: Annotated[str | None, Field(description="Give it as `cursor` for the next page; null on the last one.")]


class Identified(Protocol):
    """Something with an id."""

    @property
    def id(self) -> UUID:
        """Its id, by which it is sorted."""
        ...


I = TypeVar("I", bound=Identified)  # noqa: E741 - a type, not a number


def write(last: UUID) -> str:
    """The cursor after the thing of that id."""
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def read(cursor: str | None) -> UUID | None:
    """The id that a cursor names. Raises Problem (422) for what is no cursor."""
    if cursor is None:
        return None
    try:
        found = UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, binascii.Error):
        found = None
    # The last character carries four bits that nothing reads: only our own spelling of a cursor counts.
    if found is None or write(found) != cursor:
        raise Problem(
            422, "the cursor is not one of ours", errors=[FieldError(where="query.cursor", detail="is not valid here")]
        )
    return found


def page(view: type[V], found: Sequence[I], limit: int, *, show: Callable[[I], V] | None = None) -> Page[V]:
    """A page of at most `limit` of what was found, which is one more where there is a next page.

    `show` makes the view where its fields are not just the attributes of what was found.
    """
    shown = found[:limit]
    return Page[V](
        items=[show(item) if show else view.model_validate(item, from_attributes=True) for item in shown],
        next=write(shown[-1].id) if len(found) > limit else None,
    )


def cut(everything: Sequence[I], after: UUID | None, limit: int) -> Sequence[I]:
    """What `page` is given of a short list that is sorted by id."""
    return [item for item in everything if after is None or item.id > after][: limit + 1]
