"""Tests of hosted pages in a real browser."""
