"""Browsers and apps as callers: origins of pages, CORS, keys in bodies."""
