"""Exports: audiences, CRM tasks, the feed and its receivers."""
