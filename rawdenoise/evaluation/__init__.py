"""Public benchmarks: their files in, their figures out."""
