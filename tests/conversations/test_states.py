from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recado.conversations.states import Action, State, after
from recado.errors import Conflict

ACTIONS = st.lists(st.sampled_from(["take", "give_back", "close"]))


@given(ACTIONS)
def test_whatever_is_done_a_closed_conversation_stays_closed(actions: list[Action]) -> None:
    state: State = "open"
    for action in actions:
        before = state
        with contextlib.suppress(Conflict):
            state = after(state, action)
        assert before != "closed" or state == "closed"
        if action == "close":
            assert state == "closed"


@given(ACTIONS)
def test_people_have_a_conversation_exactly_from_taking_to_giving_back_or_closing(actions: list[Action]) -> None:
    state: State = "open"
    for action in actions:
        before = state
        try:
            state = after(state, action)
        except Conflict:
            continue
        assert (state == "handoff") == (action == "take")
        assert (before == "handoff") or action != "give_back"


def test_a_refused_action_says_what_the_conversation_is() -> None:
    with pytest.raises(Conflict, match="closed: it can't be taken"):
        after("closed", "take")
