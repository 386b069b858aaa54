-- The consent log is append-only. Only the table's owner can disable the trigger, to erase a person.
CREATE FUNCTION consent_log_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the consent log only grows' USING ERRCODE = 'restrict_violation';
    END $$;

CREATE TRIGGER consent_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON consent_log
FOR EACH STATEMENT EXECUTE FUNCTION consent_log_only_grows();
