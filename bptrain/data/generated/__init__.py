"""Data sets that are drawn from a random generator instead of read from files."""
