-- The number of an address's advisory lock: shared by the gate, exclusive for a suppression.
CREATE FUNCTION address_lock(digest text) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashtextextended(digest, 7239013) $$;
