"""Copies of tasks in CRMs, one adapter for each, behind the port in `port.py`."""
