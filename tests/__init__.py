"""Tests, in folders by tier: each a sentence about what Tenure does."""
