"""Durability: decisions become timers and activities here, and nothing else does."""
