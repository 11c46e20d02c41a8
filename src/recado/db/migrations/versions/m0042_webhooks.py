"""Where owners have their events posted, what waits to be posted again, and what became of the last posts."""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import own

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

_TABLES = (
    # `reached` is the newest event that was posted, or waits in `webhook_waiting`. Who holds the endpoint (an executor)
    # has its `fence`: what a former holder says does not count.
    """
    CREATE TABLE webhooks (
        owner_id         uuid NOT NULL REFERENCES owners,
        id               uuid NOT NULL,
        url              text NOT NULL CHECK (url ~ '^https?://' AND length(url) <= 2048),
        description      text NOT NULL DEFAULT '' CHECK (length(description) <= 200),
        types            text[] NOT NULL DEFAULT '{}',
        secret           bytea NOT NULL,
        previous_secret  bytea,
        previous_until   timestamptz,
        status           text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
        disabled_why     text CHECK (disabled_why IN ('people', 'gone', 'failing')),
        disabled_at      timestamptz,
        reached          bigint NOT NULL,
        next_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
        failures         integer NOT NULL DEFAULT 0,
        failing_since    timestamptz,
        last_success_at  timestamptz,
        holder           text,
        held_until       timestamptz,
        fence            bigint NOT NULL DEFAULT 0,
        version          integer NOT NULL DEFAULT 1,
        created_at       timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (owner_id, id),
        CONSTRAINT webhooks_disabled CHECK ((status = 'disabled') = (disabled_why IS NOT NULL)),
        CONSTRAINT webhooks_previous CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
    ) WITH (fillfactor = 70)
    """,
    # An event that was refused, and those of its lane (its conversation) that came later and must not overtake it.
    """
    CREATE TABLE webhook_waiting (
        owner_id    uuid NOT NULL,
        webhook_id  uuid NOT NULL,
        event_id    bigint NOT NULL,
        lane        uuid NOT NULL,
        tries       integer NOT NULL DEFAULT 0,
        failed_at   timestamptz,
        next_at     timestamptz NOT NULL,
        PRIMARY KEY (owner_id, webhook_id, event_id),
        FOREIGN KEY (owner_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE webhook_attempts (
        owner_id     uuid NOT NULL,
        id           uuid NOT NULL,
        webhook_id   uuid NOT NULL,
        event_id     bigint,
        type         text NOT NULL,
        at           timestamptz NOT NULL DEFAULT clock_timestamp(),
        duration_ms  integer NOT NULL,
        outcome      text NOT NULL,
        http_status  smallint,
        PRIMARY KEY (owner_id, id),
        FOREIGN KEY (owner_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
    )
    """,
    "CREATE INDEX webhooks_due ON webhooks (next_at) WHERE status = 'enabled'",
    "CREATE INDEX webhook_waiting_lane ON webhook_waiting (owner_id, webhook_id, lane, event_id)",
    "CREATE INDEX webhook_attempts_webhook ON webhook_attempts (owner_id, webhook_id, id)",
)


def upgrade() -> None:
    """Add the tables."""
    for statement in _TABLES:
        op.execute(statement)
    own(op, "webhooks", "webhook_waiting", "webhook_attempts")
