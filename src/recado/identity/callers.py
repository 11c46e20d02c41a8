"""Who asks: an API key, a user, a platform administrator, or somebody at the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

Kind = Literal["key", "user", "platform", "cli"]
KeyScope = Literal["read", "write", "webhooks", "admin"]
Role = Literal["admin", "operator", "viewer"]

SCOPES: Final[tuple[KeyScope, ...]] = ("read", "write", "webhooks", "admin")
ROLES: Final[tuple[Role, ...]] = ("admin", "operator", "viewer")

#: What a scope allows. `webhooks` stands apart: a key that may post webhooks reads nothing, and no other may post them.
_ALLOWS: Final[dict[str, frozenset[str]]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin"}),
    "webhooks": frozenset({"webhooks"}),
}
_OF_ROLE: Final[dict[str, frozenset[str]]] = {
    "admin": frozenset({"admin"}),
    "operator": frozenset({"write"}),
    "viewer": frozenset({"read"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller; `owner_id` is None for platform administrators and the command line."""

    kind: Kind
    id: UUID | None
    owner_id: UUID | None
    scopes: frozenset[str]
    role: str | None
    name: str

    def may(self, scope: KeyScope) -> bool:
        """Whether the caller's scopes cover this one: `admin` includes `write`, and `write` includes `read`."""
        return any(scope in _ALLOWS.get(held, ()) for held in self.scopes)


def of_user(*, user_id: UUID, owner_id: UUID | None, role: str, email: str) -> Caller:
    """The caller that a signed-in user is; without an owner, a platform administrator."""
    return Caller(
        kind="platform" if owner_id is None else "user",
        id=user_id,
        owner_id=owner_id,
        scopes=_OF_ROLE[role],
        role=role,
        name=email,
    )


def at_command_line(name: str) -> Caller:
    """The caller that somebody at the command line is, by the name of their account on that machine."""
    return Caller(kind="cli", id=None, owner_id=None, scopes=frozenset({"admin"}), role=None, name=name)
