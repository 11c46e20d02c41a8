-- Adds tokens of a model without a price, and tells of that model once a month. `warned` keeps `meter` from an
-- event of its own, which could not name the model.
CREATE OR REPLACE FUNCTION meter_unpriced(whose uuid, called text, much bigint, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
DECLARE
    month date := date_trunc('month', at AT TIME ZONE 'UTC')::date;
BEGIN
    INSERT INTO usage AS u (owner_id, period, metric, amount, warned)
    VALUES (whose, month, 'unpriced_tokens', much, true)
    ON CONFLICT (owner_id, period, metric) DO UPDATE SET amount = u.amount + excluded.amount, warned = true;
    UPDATE usage SET models = array_append(models, called)
    WHERE owner_id = whose AND period = month AND metric = 'unpriced_tokens' AND NOT called = ANY(models);
    IF FOUND THEN
        INSERT INTO events (owner_id, step, what, data)
        VALUES (whose, 'usage', 'price_unknown', jsonb_build_object('model', called, 'period', month, 'amount', much));
    END IF;
END
$$;
