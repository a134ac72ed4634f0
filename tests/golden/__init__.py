"""Golden vectors: where their numbers come from. Nothing in here imports npsnn."""
