"""Plumbing that a reader need not open."""
