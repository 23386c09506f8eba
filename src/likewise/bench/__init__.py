"""Measurements: how right the cache is, and how fast."""
