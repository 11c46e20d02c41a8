-- Word of what changed, for look-ups that remember (`db/changes.py`).
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON owners
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON twilio_accounts
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON numbers
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION tell_change();

-- Not for sign-ins and passwords: whoever read a name and a role before has read what there is.
CREATE TRIGGER grow_version BEFORE UPDATE ON users FOR EACH ROW
    WHEN ((OLD.name, OLD.role, OLD.status) IS DISTINCT FROM (NEW.name, NEW.role, NEW.status))
    EXECUTE FUNCTION grow_version();
CREATE TRIGGER grow_version BEFORE UPDATE ON owners FOR EACH ROW
    WHEN ((OLD.name, OLD.status, OLD.plan_id) IS DISTINCT FROM (NEW.name, NEW.status, NEW.plan_id))
    EXECUTE FUNCTION grow_version();

-- What owners use, counted at the commit.
CREATE CONSTRAINT TRIGGER meter_part AFTER UPDATE OF provider_sid ON message_parts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.provider_sid IS NULL AND NEW.provider_sid IS NOT NULL) EXECUTE FUNCTION meter_part();
CREATE CONSTRAINT TRIGGER count_stored AFTER INSERT OR UPDATE OR DELETE ON media
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_stored();

CREATE TRIGGER forget_proof AFTER UPDATE OF removed_at ON twilio_accounts FOR EACH ROW
    WHEN (NEW.removed_at IS NOT NULL AND OLD.removed_at IS NULL) EXECUTE FUNCTION forget_proof();

-- The words of knowledge follow its entries. Triggers of one event fire in the order of their names: what is gone is
-- forgotten before what came is learnt.
CREATE TRIGGER words_forgotten AFTER DELETE ON knowledge REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_words();
CREATE TRIGGER words_a_forgotten AFTER UPDATE ON knowledge REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_words();
CREATE TRIGGER words_b_learnt AFTER UPDATE ON knowledge REFERENCING NEW TABLE AS come
    FOR EACH STATEMENT EXECUTE FUNCTION learn_words();
CREATE TRIGGER words_learnt AFTER INSERT ON knowledge REFERENCING NEW TABLE AS come
    FOR EACH STATEMENT EXECUTE FUNCTION learn_words();
