"""Tests by tier, and inside a tier by the packages of the product."""
