"""Which parameters an optimizer treats alike: groups by weight decay, and the hidden matrices."""

from collections.abc import Iterable
from typing import Any

from torch import nn

# the normalizations whose parameters can have several axes; those of the others are vectors
NORMALIZATIONS = (nn.LayerNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

Group = dict[str, Any]


def decay_groups(model: nn.Module, weight_decay: float, decay_norm_and_bias: bool) -> list[Group]:
    """Return one group of all parameters, or a decayed one and one that is spared."""
    spared = set() if decay_norm_and_bias else norms_and_biases(model)
    return split_by_decay(model.parameters(), weight_decay, spared)


def split_by_decay(
    parameters: Iterable[nn.Parameter], weight_decay: float, spared: set[nn.Parameter]
) -> list[Group]:
    """Return the groups that are not empty: the decayed one, then the one of weight decay 0."""
    decayed: Group = {"params": [], "weight_decay": weight_decay}
    undecayed: Group = {"params": [], "weight_decay": 0.0}
    for parameter in parameters:
        group = undecayed if parameter in spared else decayed
        group["params"].append(parameter)
    return [group for group in (decayed, undecayed) if group["params"]]


def norms_and_biases(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters of at most one axis, and all of normalization modules."""
    vectors = {p for p in model.parameters() if p.dim() <= 1}
    return vectors | _owned(model, NORMALIZATIONS)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of two axes that belong neither to an embedding nor to the output layer.

    The output layer is the last module that has a weight of two or more axes. A matrix in which
    several are stacked, as a recurrent layer's gates are, counts as one.
    """
    norms = _owned(model, NORMALIZATIONS)
    weighty = [
        module
        for module in model.modules()
        if any(p.dim() >= 2 and p not in norms for p in module.parameters(recurse=False))
    ]
    output = {p for module in weighty[-1:] for p in module.parameters(recurse=False)}
    apart = norms | output | _owned(model, EMBEDDINGS)
    return [p for p in model.parameters() if p.dim() == 2 and p not in apart]


def _owned(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[nn.Parameter]:
    """Return the parameters of all modules of some kinds."""
    modules = (module for module in model.modules() if isinstance(module, kinds))
    return {p for module in modules for p in module.parameters(recurse=False)}
