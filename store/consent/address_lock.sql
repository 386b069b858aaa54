-- The number of an address's advisory lock: the gate shares it, whoever suppresses the address holds it alone.
CREATE FUNCTION address_lock(digest text) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT hashtextextended(digest, 7239013) $$;
