"""Paid audiences: memberships sent to advertising tools by hashed address."""
