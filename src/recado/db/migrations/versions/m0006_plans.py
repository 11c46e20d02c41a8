"""Plans with monthly limits, and what owners used of them, counted in the transactions of the work itself."""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import across_owners, own, platform_only

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE plans (
    id                     uuid PRIMARY KEY,
    name                   text NOT NULL UNIQUE CHECK (name <> ''),
    messages               bigint CHECK (messages >= 0),
    model_tokens           bigint CHECK (model_tokens >= 0),
    transcription_seconds  bigint CHECK (transcription_seconds >= 0),
    money                  bigint CHECK (money >= 0),
    soft_share             double precision NOT NULL DEFAULT 0.8 CHECK (soft_share > 0 AND soft_share <= 1),
    hard_action            text NOT NULL DEFAULT 'keyless' CHECK (hard_action IN ('keyless', 'people')),
    created_at             timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE owners ADD COLUMN plan_id uuid REFERENCES plans;
ALTER TABLE turns ADD COLUMN cost_micros bigint NOT NULL DEFAULT 0;
ALTER TABLE turns DROP CONSTRAINT turns_outcome_check;
ALTER TABLE turns ADD CONSTRAINT turns_outcome_check
    CHECK (outcome IN ('answered', 'keyless', 'apology', 'silent', 'budget'));
ALTER TABLE conversations ADD COLUMN budget_told date;

CREATE TABLE usage (
    owner_id  uuid NOT NULL REFERENCES owners,
    period    date NOT NULL CHECK (extract(day FROM period) = 1),
    metric    text NOT NULL CHECK (metric IN
              ('messages', 'model_tokens', 'transcription_seconds', 'money', 'unpriced_tokens')),
    amount    bigint NOT NULL CHECK (amount >= 0),
    warned    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (owner_id, period, metric)
) WITH (fillfactor = 50);

-- Adds, and says once a period when the plan's soft share is reached: the row's lock makes both exact.
CREATE FUNCTION meter(whose uuid, what text, much bigint, at timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path = recado, pg_temp AS $$
DECLARE
    month date := date_trunc('month', at AT TIME ZONE 'UTC')::date;
    total bigint;
    told boolean;
    most double precision;
BEGIN
    IF much <= 0 THEN
        RETURN;
    END IF;
    INSERT INTO usage AS u (owner_id, period, metric, amount) VALUES (whose, month, what, much)
    ON CONFLICT (owner_id, period, metric) DO UPDATE SET amount = u.amount + excluded.amount
    RETURNING u.amount, u.warned INTO total, told;
    IF told THEN
        RETURN;
    END IF;
    IF what = 'unpriced_tokens' THEN
        most := 0;
    ELSE
        SELECT p.soft_share * CASE what WHEN 'messages' THEN p.messages WHEN 'model_tokens' THEN p.model_tokens
                                   WHEN 'money' THEN p.money ELSE p.transcription_seconds END
        INTO most FROM owners o JOIN plans p ON p.id = o.plan_id WHERE o.id = whose;
    END IF;
    IF total >= most THEN
        UPDATE usage SET warned = true WHERE owner_id = whose AND period = month AND metric = what;
        INSERT INTO events (owner_id, step, what, data)
        VALUES (whose, 'usage', CASE WHEN what = 'unpriced_tokens' THEN 'price_unknown' ELSE 'budget_soft' END,
                jsonb_build_object('metric', what, 'period', month, 'amount', total));
    END IF;
END $$;

-- A part that Twilio has is a message, whoever told us: its answer, a callback or its list. Counted at the commit, when
-- all other locks are held, so that two transactions never wait for each other's.
CREATE FUNCTION meter_part() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
BEGIN
    PERFORM meter(NEW.owner_id, 'messages', 1, NEW.taken_at);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER meter_part AFTER UPDATE OF provider_sid ON message_parts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.provider_sid IS NULL AND NEW.provider_sid IS NOT NULL) EXECUTE FUNCTION meter_part();
"""


def upgrade() -> None:
    """Add plans and usage; every owner starts without a plan, which is without limits."""
    op.execute(TABLES)
    own(op, "usage")
    op.execute("REVOKE DELETE ON usage FROM recado_app")
    platform_only(op, "plans")
    op.execute("GRANT SELECT ON plans TO recado_app")
    across_owners(op, "meter_part()")
