-- Each change of a message is copied to the feed in the same transaction, whatever statement makes it. `was` is the status
-- before; `decided`: the gate has decided.
CREATE FUNCTION feed_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO feed (message, was, status, decided, attempt, channel, until, reasons, whole)
  VALUES (NEW.id, OLD.status, NEW.status, OLD.decided_at IS DISTINCT FROM NEW.decided_at, NEW.attempts, NEW.channel,
          NEW.due_at, NEW.reasons, NEW.merged_into);
  RETURN NULL;
END $$;

CREATE TRIGGER messages_fed AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION feed_of_message();

CREATE TRIGGER messages_fed_again AFTER UPDATE OF status, attempts, decided_at, reasons ON messages FOR EACH ROW
WHEN (OLD.status <> NEW.status OR OLD.attempts <> NEW.attempts OR OLD.decided_at <> NEW.decided_at
      OR OLD.reasons IS DISTINCT FROM NEW.reasons)
EXECUTE FUNCTION feed_of_message();
