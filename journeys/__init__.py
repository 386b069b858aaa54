"""Everything that decides, pure: language, decisions, gate, consent, simulation."""
