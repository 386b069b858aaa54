"""Delivery attempts, their settlement, recovery and outcomes."""
