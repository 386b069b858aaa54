"""The gate live: lock, read, evaluate, render and record in one transaction."""
