"""The processes: Temporal workers, relay, schedules and the embedded stack. The composition root lives here."""
