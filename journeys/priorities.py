"""How pressing a message is (C6): urgent support first, then transactional, then lifecycle, then promotional."""

from __future__ import annotations

from journeys.definition import Priority

PRIORITIES: tuple[Priority, ...] = ("urgent_support", "transactional", "lifecycle", "promotional")
CALM: tuple[Priority, ...] = ("lifecycle", "promotional")
"""What may wait. Urgent support and transactional messages go first, so no rule holds them unless it names them."""
PRESSING: tuple[Priority, ...] = ("urgent_support", "transactional")
