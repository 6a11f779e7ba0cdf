"""torch.nn.Unflatten: splitting an axis moves no number: there is nothing to derive."""

import torch


class Unflatten(torch.nn.Unflatten):
    """One axis made several: always a view, in the graph torch's own node of a view."""
