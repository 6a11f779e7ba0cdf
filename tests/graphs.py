"""The nodes of a result's autograd graph: which are ours, and which are only views."""

from collections.abc import Iterable

import torch
from torch import Tensor

Node = torch.autograd.graph.Node

VIEWS = {  # torch's own nodes that only change the view
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
    """Return the names of the nodes that are neither ours nor views nor leaves."""
    ours = {
        f"{kind.__name__}Backward"
        for kind in torch.autograd.Function.__subclasses__()
        if kind.__module__.startswith("bptrain.ops")
    }
    names = {node.name() for node in nodes_behind(outputs)}
    return {name for name in names - ours - VIEWS if not name.endswith("AccumulateGrad")}
