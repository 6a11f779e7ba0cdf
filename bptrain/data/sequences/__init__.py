"""Data sets of sequences of numbers, read from .npz files."""
