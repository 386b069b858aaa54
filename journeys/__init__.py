"""Everything that decides is here; nothing here does."""
