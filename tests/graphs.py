"""The autograd graph of a result, walked: which nodes are ours, and which only move a view."""

from collections.abc import Iterable

import torch
from torch import Tensor

Node = torch.autograd.graph.Node

VIEWS = {  # torch's own nodes that move no number, only say how it lies in memory
    "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "SqueezeBackward0",
    "SqueezeBackward1", "SqueezeBackward2", "UnsqueezeBackward0", "TBackward0",
    "TransposeBackward0", "PermuteBackward0", "ExpandBackward0", "SelectBackward0",
    "SliceBackward0", "SplitBackward0", "UnbindBackward0", "AliasBackward0", "UnflattenBackward0",
}  # fmt: skip


def nodes_behind(outputs: Iterable[Tensor]) -> set[Node]:
    """Return every node from the outputs down to the leaves."""
    found, waiting = set(), [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [following for following, _ in node.next_functions]
    return found


def foreign_nodes(outputs: Iterable[Tensor]) -> set[str]:
    """Return the names of the nodes that are neither ours nor a view nor a leaf."""
    ours = {
        f"{kind.__name__}Backward"
        for kind in torch.autograd.Function.__subclasses__()
        if kind.__module__.startswith("bptrain.ops")
    }
    names = {node.name() for node in nodes_behind(outputs)}
    return {name for name in names - ours - VIEWS if not name.endswith("AccumulateGrad")}
