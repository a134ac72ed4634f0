"""What docs/benchmarks.md reports, by commands: `python -m benchmarks.step`, `python -m benchmarks.accuracy`."""
