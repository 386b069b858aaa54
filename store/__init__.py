"""PostgreSQL: tables, statements and transactions."""
