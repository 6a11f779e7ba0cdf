"""Outputs of a run for people: metrics file, TensorBoard and terminal."""
