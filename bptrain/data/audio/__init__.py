"""Data sets of recordings, read as spectrograms."""
