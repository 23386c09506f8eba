"""Attacks on the gateway: what an enemy would try, counted. ``make attacks`` prints the figures."""
