"""Test support for journey authors: rehearsal on real servers and strict replay."""
