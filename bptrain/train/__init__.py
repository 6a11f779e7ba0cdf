"""The training loop, evaluation, and the states that a checkpoint saves.

Nothing here names a model, a data set or an optimizer: `fit` gets them as arguments.
"""
