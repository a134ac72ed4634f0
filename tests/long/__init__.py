"""What takes minutes: kills, fuzzing, long runs, coverage. `python -m tests.long` does all of it."""
