"""Measurements: ours against the alternative, paired and interleaved in one process."""
