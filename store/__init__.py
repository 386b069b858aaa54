"""PostgreSQL: schema, statements and transactions, one package for each domain concept."""
