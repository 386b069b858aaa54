"""The gate, pure: verdicts, deferral rules, consolidation, policy and the message lifecycle."""
