"""The training loop and what it leaves behind: evaluation, state and checkpoints.

Nothing here knows a model, a data set or an optimizer by name: `fit` is handed them.
"""
