"""What each role may is what the page says, and every route is on it."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.routing import APIRoute

from tests.api.browsers import join
from tests.api.programs import Office
from tests.api.test_isolation import needed, of_keys

PAGE = Path(__file__).parents[2] / "docs/how-to/users-and-keys.md"
OF_ROLE = {"viewer": "read", "operator": "write", "admin": "admin"}
UNSEEN = {"Users", "Invitations", "Keys", "Webhooks", "Audit"}
#: The page's words, and the tags of what they are about; of conversations the routes by name.
ANSWERING = {"send_message", "upload_media"}
COPYING = {"export_contact", "erase_contact"}
TAKING = {"take_conversation", "give_back_conversation", "close_conversation", "assign_conversation"}


def tagged(*tags: str) -> set[str]:
    """The routes about these that change something."""
    return {
        str(route.operation_id) for route in of_keys() if set(tags) & set(route.tags) and "GET" not in route.methods
    }


def seen(route: APIRoute) -> bool:
    return "GET" in route.methods and not UNSEEN & set(route.tags) and route.operation_id not in COPYING


def words() -> dict[str, set[str]]:
    """What each phrase of the page lets people do."""
    shown = {str(route.operation_id) for route in of_keys() if "GET" in route.methods and UNSEEN & set(route.tags)}
    return {
        "see everything but users, invitations, keys, webhooks and the audit": {
            str(route.operation_id) for route in of_keys() if seen(route)
        },
        "answer contacts": ANSWERING,
        "write first": {"send_message_to"},
        "say their language": {"change_contact"},
        "take conversations over": TAKING,
        "change knowledge": tagged("Knowledge"),
        "manage users": tagged("Users") | shown & {"list_users", "get_user"},
        "invitations": tagged("Invitations") | shown & {"list_invitations"},
        "keys": tagged("Keys") | shown & {"list_keys"},
        "Twilio accounts": tagged("Twilio accounts"),
        "numbers": tagged("Numbers"),
        "assistants": tagged("Assistants", "Templates"),
        "consent words": tagged("Consent"),
        "webhooks": tagged("Webhooks") | {name for name in shown if "webhook" in name},
        "see the audit": shown & {"list_audit"},
        "copy and erase a person's data": COPYING,
        "set how long data is kept": {"set_retention"},
    }


def test_every_role_may_what_the_page_says_and_no_route_is_missing_there() -> None:
    table = PAGE.read_text().partition("| role | may |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE))
    known, told = words(), dict[str, str]()
    assert list(rows) == list(OF_ROLE)
    for role, cell in rows.items():
        text = cell.removeprefix("that, and ")
        for phrase in [text] if text in known else text.split(", "):
            told |= dict.fromkeys(known.pop(phrase), OF_ROLE[role])
    assert known == {}, "words that the page does not have"
    assert told == {str(route.operation_id): needed(route) for route in of_keys()}


async def test_an_operator_changes_knowledge_and_a_viewer_does_not(office: Office) -> None:
    path = "/v1/knowledge/sources/entrega.md"
    operator, viewer = [(await join(office.front, role)).browser for role in ("operator", "viewer")]
    for method in ("PUT", "DELETE"):
        answers = [
            await browser.ask(method, path, json={"text": "# Entrega\nSim, no centro.\n"})
            for browser in (viewer, operator)
        ]
        assert [answer.status_code for answer in answers] == [403, 200]
