"""Test support for authors of journeys: rehearsals on real servers, and strict replay."""
