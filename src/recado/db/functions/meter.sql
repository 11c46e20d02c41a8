-- Adds to an owner's usage of a month, and says once a period when the plan's soft share is reached: the row's
-- lock makes both exact.
CREATE OR REPLACE FUNCTION meter(whose uuid, what text, much bigint, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = recado, pg_temp AS $$
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
END
$$;
