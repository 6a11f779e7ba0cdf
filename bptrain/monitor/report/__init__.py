"""The page that shows a run: curves, gradient flow, verdicts, config, and the worst samples."""
