"""Messages: the ledger, due messages, digests, holds and kill switches."""
