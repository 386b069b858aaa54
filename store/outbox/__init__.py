"""The outbox: lanes, their rows, claims and undelivered signals."""
