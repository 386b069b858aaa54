"""Outgoing HTTP: checked URLs and addresses, limits, circuit breakers, rate limits and signatures."""
