"""Plans: what an owner may use in a month, and what it has used.

A period is a calendar month in UTC, named by its first day. Usage is counted in the transaction of the work that used
it, by the database's function `meter`: exact however many do so at once. Messages count themselves, when Twilio has
taken a part (`meter_part`). Money is in millionths of a US dollar.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal
from uuid import UUID

from recado.db.pool import Connection
from recado.db.scope import Scope
from recado.errors import NotFound, UsageError
from recado.ids import new_id

Metric = Literal["messages", "model_tokens", "transcription_seconds", "money", "unpriced_tokens", "stored_bytes"]
State = Literal["ok", "soft", "hard"]
HardAction = Literal["keyless", "people"]

#: What a plan can limit. `unpriced_tokens`, of models whose price nobody knows, is counted beside them.
LIMITED: tuple[Metric, ...] = ("messages", "model_tokens", "transcription_seconds", "money")
#: What is kept is of no month: it is counted under this one, by the database with each attachment (`count_stored`).
STOCK: Final = date(1970, 1, 1)
_MOST = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Limits of a month; None is none. At `soft_share` of one an event warns, at the limit `hard_action` follows.

    `stored_bytes` is of no month: so much of attachments may be kept, and one more is refused.
    """

    id: UUID
    name: str
    messages: int | None
    model_tokens: int | None
    transcription_seconds: int | None
    money: int | None
    stored_bytes: int | None
    soft_share: float
    hard_action: HardAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Where an owner stands in a period, and what follows when a limit is reached.

    `limits_money` says that the plan has a limit in money, which what nobody can price would slip past.
    """

    period: date
    state: State
    hard_action: HardAction
    limits_money: bool = False

    @property
    def people_only(self) -> bool:
        """Whether nothing but people may answer any more."""
        return self.state == "hard" and self.hard_action == "people"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What was used of one metric in a period; `limit` is the plan's, None without one."""

    owner_id: UUID
    metric: str
    amount: int
    limit: int | None


_COLUMNS = "id, name, messages, model_tokens, transcription_seconds, money, stored_bytes, soft_share, hard_action"


def period_of(now: datetime) -> date:
    """The first day of the month of `now`, in UTC."""
    return now.astimezone(UTC).date().replace(day=1)


async def add(
    platform: Connection,
    name: str,
    *,
    messages: int | None = None,
    model_tokens: int | None = None,
    transcription_seconds: int | None = None,
    money: int | None = None,
    stored_bytes: int | None = None,
    soft_share: float = 0.8,
    hard_action: HardAction = "keyless",
) -> Plan:
    """The plan of that name with these limits, made or changed. Raises UsageError for what can't be a plan."""
    name = " ".join(name.split())
    if not name or len(name) > 100:
        raise UsageError("a plan's name has 1 to 100 characters")
    limits = (messages, model_tokens, transcription_seconds, money, stored_bytes)
    if any(limit is not None and not 0 <= limit <= _MOST for limit in limits):
        raise UsageError(f"a plan's limits are from 0 to {_MOST:,}, money in millionths and storage in bytes")
    if not 0 < soft_share <= 1:
        raise UsageError("a plan's soft share is above 0 and at most 1")
    row = await (
        await platform.execute(
            f"""
            INSERT INTO plans ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (name) DO UPDATE SET messages = excluded.messages, model_tokens = excluded.model_tokens,
                transcription_seconds = excluded.transcription_seconds, money = excluded.money,
                stored_bytes = excluded.stored_bytes, soft_share = excluded.soft_share,
                hard_action = excluded.hard_action
            RETURNING {_COLUMNS}
            """,  # noqa: S608 - the columns are a constant
            [new_id(), name, *limits, soft_share, hard_action],
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - an INSERT that updates returns its row
    return Plan(**row)


async def all_of_them(platform: Connection) -> list[Plan]:
    """Every plan, by name."""
    cursor = await platform.execute(f"SELECT {_COLUMNS} FROM plans ORDER BY name")  # noqa: S608
    return [Plan(**row) for row in await cursor.fetchall()]


async def of_owner(conn: Connection, owner_id: UUID) -> Plan | None:
    """The owner's plan; None is no limit at all."""
    row = await (
        await conn.execute(
            f"SELECT {_COLUMNS} FROM plans WHERE id = (SELECT plan_id FROM owners WHERE id = %s)",  # noqa: S608 - constant
            [owner_id],
        )
    ).fetchone()
    return Plan(**row) if row is not None else None


async def assign(platform: Connection, owner_id: UUID, name: str) -> Plan:
    """Put the owner on the plan of that name, from the next turn on. Raises NotFound for either."""
    row = await (
        await platform.execute(f"SELECT {_COLUMNS} FROM plans WHERE name = %s", [" ".join(name.split())])  # noqa: S608
    ).fetchone()
    if row is None:
        raise NotFound(f"no plan {name}: see `recado plans list`")
    plan = Plan(**row)
    await _put_on(platform, owner_id, plan.id)
    return plan


async def release(platform: Connection, owner_id: UUID) -> None:
    """Take the owner off its plan, from the next turn on: without one there is no limit. Raises NotFound."""
    await _put_on(platform, owner_id, None)


async def _put_on(platform: Connection, owner_id: UUID, plan_id: UUID | None) -> None:
    changed = await platform.execute("UPDATE owners SET plan_id = %s WHERE id = %s", [plan_id, owner_id])
    if changed.rowcount == 0:
        raise NotFound(f"no owner {owner_id}: see `recado owners list`")


async def meter(scope: Scope, metric: Metric, amount: int, *, now: datetime) -> None:
    """Count what the scope's transaction used; at the soft share of the plan's limit an event says so, once a period.

    Call it last in a transaction, metrics in the order of `LIMITED`: the owner's row stays locked until the commit.
    """
    if amount > 0:
        await scope.conn.execute("SELECT meter(%s, %s, %s, %s)", [scope.owner_id, metric, amount, now])


async def meter_turn(scope: Scope, *, tokens: int, money: int, unpriced: tuple[str, int] | None, now: datetime) -> None:
    """Count what a turn's model used as `meter` does, in one statement, last in its transaction.

    `unpriced` is a model whose price nobody knows and its tokens: an event names the model, once a period.
    """
    calls, values = [], list[object]()
    for metric, amount in (("model_tokens", tokens), ("money", money)):
        if amount > 0:
            calls.append("meter(%s, %s, %s, %s)")
            values += [scope.owner_id, metric, amount, now]
    if unpriced is not None and unpriced[1] > 0:
        calls.append("meter_unpriced(%s, %s, %s, %s)")
        values += [scope.owner_id, *unpriced, now]
    if calls:
        # One of four texts: the list of a SELECT is evaluated from left to right.
        await scope.conn.execute(f"SELECT {', '.join(calls)}", values)


_LIMITS = """
    owners o JOIN plans p ON p.id = o.plan_id CROSS JOIN LATERAL (VALUES
        ('messages', p.messages), ('model_tokens', p.model_tokens),
        ('transcription_seconds', p.transcription_seconds), ('money', p.money)) AS l (metric, most)
"""


async def budget(scope: Scope, now: datetime) -> Budget:
    """Where the owner stands, over all limits of its plan; without a plan all is well. One query."""
    period = period_of(now)
    row = await (
        await scope.conn.execute(
            f"""
            SELECT p.hard_action, bool_or(coalesce(u.amount, 0) >= l.most) AS hard,
                   bool_or(coalesce(u.amount, 0) >= l.most * p.soft_share) AS soft,
                   bool_or(l.metric = 'money') AS limits_money
            FROM {_LIMITS} LEFT JOIN usage u ON u.owner_id = o.id AND u.period = %s AND u.metric = l.metric
            WHERE o.id = %s AND l.most IS NOT NULL GROUP BY p.hard_action
            """,  # noqa: S608 - a constant
            [period, scope.owner_id],
        )
    ).fetchone()
    if row is None:
        return Budget(period=period, state="ok", hard_action="keyless")
    state: State = "hard" if row["hard"] else "soft" if row["soft"] else "ok"
    return Budget(period=period, state=state, hard_action=row["hard_action"], limits_money=row["limits_money"])


async def reached(scope: Scope, metric: Metric, now: datetime) -> bool:
    """Whether the limit that the owner's plan sets on this metric is reached."""
    row = await (
        await scope.conn.execute(
            f"""
            SELECT FROM {_LIMITS} LEFT JOIN usage u ON u.owner_id = o.id AND u.period = %s AND u.metric = l.metric
            WHERE o.id = %s AND l.metric = %s AND coalesce(u.amount, 0) >= l.most
            """,
            [period_of(now), scope.owner_id, metric],
        )
    ).fetchone()
    return row is not None


async def has_room(scope: Scope, more_bytes: int) -> bool:
    """Whether so many bytes more may be kept; where there is a limit, nobody else takes the room before the commit."""
    row = await (
        await scope.conn.execute(
            "SELECT p.stored_bytes FROM owners o JOIN plans p ON p.id = o.plan_id WHERE o.id = %s", [scope.owner_id]
        )
    ).fetchone()
    if row is None or row["stored_bytes"] is None:
        return True
    await scope.conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"stored of {scope.owner_id}"])
    kept = await (
        await scope.conn.execute(
            "SELECT amount FROM usage WHERE owner_id = %s AND period = %s AND metric = 'stored_bytes'",
            [scope.owner_id, STOCK],
        )
    ).fetchone()
    return bool((kept["amount"] if kept else 0) + more_bytes <= row["stored_bytes"])


async def state(scope: Scope, now: datetime) -> State:
    """`hard` when a limit of the plan is reached, `soft` when its soft share is, else `ok`."""
    return (await budget(scope, now)).state


async def usage(where: Scope | Connection, period: date, *, owner_id: UUID | None = None) -> list[Used]:
    """What was used in the period and what the plan allows, by owner and metric; of a scope its owner's.

    Of a platform connection all owners', or one's. What is limited and was not used is there with 0. What is kept is
    what is kept now, whatever the period.
    """
    conn, whose = (where.conn, where.owner_id) if isinstance(where, Scope) else (where, owner_id)
    cursor = await conn.execute(
        f"""
        WITH allowed AS (SELECT o.id AS owner_id, l.metric, l.most FROM {_LIMITS} WHERE l.most IS NOT NULL
                         UNION ALL SELECT o.id, 'stored_bytes', p.stored_bytes FROM owners o
                         JOIN plans p ON p.id = o.plan_id WHERE p.stored_bytes IS NOT NULL),
             used AS (SELECT owner_id, metric, amount FROM usage
                      WHERE period = CASE metric WHEN 'stored_bytes' THEN %(stock)s ELSE %(period)s END)
        SELECT owner_id, metric, coalesce(used.amount, 0) AS amount, allowed.most AS limit
        FROM allowed FULL JOIN used USING (owner_id, metric)
        WHERE %(owner)s::uuid IS NULL OR owner_id = %(owner)s ORDER BY owner_id, metric
        """,  # noqa: S608 - a constant
        {"period": period, "stock": STOCK, "owner": whose},
    )
    return [Used(**row) for row in await cursor.fetchall()]
