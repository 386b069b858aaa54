"""The relay: claimed outbox lanes become Temporal signals."""
