"""Paid-retargeting audiences: who a journey put in is told to the advertising tools by the hash of their address."""
