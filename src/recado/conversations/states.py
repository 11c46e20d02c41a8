"""What may become of a conversation: `open`, `handoff` while people have it, `closed` for good.

A closed one never opens again: what the contact writes next opens a new conversation, so that nothing they write can
be swallowed by an old one.
"""

from __future__ import annotations

from typing import Final, Literal

from recado.errors import Conflict

State = Literal["open", "handoff", "closed"]
Action = Literal["take", "give_back", "close"]

_NEXT: Final[dict[tuple[State, Action], State]] = {
    ("open", "take"): "handoff",
    ("handoff", "give_back"): "open",
    ("open", "close"): "closed",
    ("handoff", "close"): "closed",
}


def after(state: State, action: Action) -> State:
    """The state that follows. Raises Conflict where the action makes no sense."""
    following = _NEXT.get((state, action))
    if following is None:
        raise Conflict(f"the conversation is {state}: it can't be {_DONE[action]}")
    return following


_DONE: Final[dict[Action, str]] = {"take": "taken", "give_back": "given back", "close": "closed"}
