"""Endpoints of the in-app inbox, its browser client and tracked links."""
