"""People and accounts on a real database."""
