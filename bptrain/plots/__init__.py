"""Plots, drawn by matplotlib, as arrays [H, W, 3] of bytes."""
