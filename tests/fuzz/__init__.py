"""Millions of malformed inputs for the four readers: `python -m tests.fuzz`."""
