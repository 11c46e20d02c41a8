from __future__ import annotations

from tests.cli.conftest import Terminal
from tests.cli.rows import Rows


def test_a_plan_is_made_changed_listed_and_given_to_an_owner_whose_usage_shows_it(recado: Terminal, rows: Rows) -> None:
    assert recado("plans", "add", "small", "--messages", 10, "--money", "1").code == 0
    made = recado("plans", "add", "small", "--messages", 20, "--money", "12.5", "--at-limit", "people", "--json").json
    assert (made["messages"], made["money_micros"], made["at_limit"]) == (20, 12_500_000, "people")
    assert recado("plans", "list", "--json").json == [made]
    assert recado("owners", "plan", "--owner", rows.owner, "--plan", "small", "--json").json["plan"] == "small"
    shown = recado("usage", "--owner", rows.owner, "--json").json
    limits = {item["metric"]: (item["amount"], item["limit"]) for item in shown}
    assert limits == {"messages": (0, 20), "money": (0, 12_500_000)}
    assert "12.5" in recado("usage", "--month", "2026-01").out
    assert rows.value("SELECT count(*) FROM audit WHERE thing = 'plan'") == 2


def test_what_is_no_plan_amount_or_month_is_wrong_use(recado: Terminal, rows: Rows) -> None:
    for arguments, why in (
        (("plans", "add", "small", "--money", "a lot"), "US dollars"),
        (("plans", "add", "small", "--money", "1e400"), "from 0 to 4,611"),
        (("plans", "add", "small", "--stored-mb", "9" * 19), "from 0 to 4,611"),
        (("usage", "--month", "March"), "not a month"),
    ):
        ran = recado(*arguments)
        assert ran.code == 2
        assert why in ran.complaint
    missing = recado("owners", "plan", "--owner", rows.owner, "--plan", "none")
    assert missing.code == 1
    assert "recado plans list" in missing.complaint
