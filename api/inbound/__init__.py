"""Provider webhooks and inbound mail, turned into events."""
