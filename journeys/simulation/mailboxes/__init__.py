"""Mailboxes in memory: messages, opt-outs and suppressions that hold for everybody at one address."""
