"""Exports: paid audiences, CRM tasks and the pushed feed."""
