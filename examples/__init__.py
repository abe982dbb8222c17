"""Worked examples: what the documentation shows, and the tests run."""
