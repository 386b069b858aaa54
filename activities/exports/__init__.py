"""Exports: audiences of advertising platforms, copies of tasks in CRMs, and the pushed feed."""
