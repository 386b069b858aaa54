"""Endpoints that publish and list definitions."""
