"""The folder of a run on disk: checkpoints, metrics, event files and their locks."""
