"""Mutants: the engine broken on purpose, a place at a time, to see whether the tests notice."""
