"""Parameter groups: those with and without weight decay, and the hidden weight matrices."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from torch import nn

# the normalizations whose parameters can have several axes; those of the others are vectors
NORMALIZATIONS = (nn.LayerNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

Group = dict[str, Any]


def decay_groups(model: nn.Module, weight_decay: float, decay_norm_and_bias: bool) -> list[Group]:
    """Return one group of all parameters, or one with weight decay and one without."""
    excluded = set() if decay_norm_and_bias else norms_and_biases(model)
    return split_by_decay(model.parameters(), weight_decay, excluded)


def split_by_decay(
    parameters: Iterable[nn.Parameter], weight_decay: float, excluded: set[nn.Parameter]
) -> list[Group]:
    """Return the groups that are not empty: with weight decay, then with weight decay 0."""
    decayed: Group = {"params": [], "weight_decay": weight_decay}
    undecayed: Group = {"params": [], "weight_decay": 0.0}
    for parameter in parameters:
        if not parameter.requires_grad:  # frozen: no gradient, and no state
            continue
        group = undecayed if parameter in excluded else decayed
        group["params"].append(parameter)
    return [group for group in (decayed, undecayed) if group["params"]]


@runtime_checkable
class HasBlocks(Protocol):
    """A model that tells its parts from the input on."""

    def parameter_blocks(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each part, those of the output layer last."""
        ...


def split_by_depth(groups: list[Group], model: nn.Module, lr: float, decay: float) -> list[Group]:
    """Return the groups, each split into one for each block: those of the last block first.

    The last block has the learning rate lr, the one before it lr decay, the one before lr decay^2.
    """
    blocks = list(reversed(blocks_of(model)))
    split = [
        {**group, "params": [p for p in group["params"] if p in block], "lr": lr * decay**depth}
        for depth, block in enumerate(blocks)
        for group in groups
    ]
    return [group for group in split if group["params"]]


def blocks_of(model: nn.Module) -> list[set[nn.Parameter]]:
    """Return the parameters of each block of a model from the input on, each once.

    A block is what the model says, or else each of its children; the model's own are in the first.
    """
    if isinstance(model, HasBlocks):
        blocks = [set(block) for block in model.parameter_blocks()]
    else:
        blocks = [set(child.parameters()) for child in model.children()]
    seen: set[nn.Parameter] = set()
    for block in blocks:  # a tied weight belongs to the first
        block -= seen
        seen |= block
    blocks = [block for block in blocks if block] or [set()]
    blocks[0] |= set(model.parameters()) - seen
    return blocks


def norms_and_biases(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters of at most one axis, and all of normalization modules."""
    vectors = {p for p in model.parameters() if p.dim() <= 1}
    return vectors | _parameters_of(model, NORMALIZATIONS)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of two axes that belong neither to an embedding nor to the output layer.

    The output layer is the last module that has a weight of two or more axes. A matrix in which
    several are stacked, as a recurrent layer's gates are, counts as one.
    """
    norms = _parameters_of(model, NORMALIZATIONS)
    with_weights = [
        module
        for module in model.modules()
        if any(p.dim() >= 2 and p not in norms for p in module.parameters(recurse=False))
    ]
    output = {p for module in with_weights[-1:] for p in module.parameters(recurse=False)}
    others = norms | output | _parameters_of(model, EMBEDDINGS)
    return [p for p in model.parameters() if p.dim() == 2 and p not in others and p.requires_grad]


def _parameters_of(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[nn.Parameter]:
    """Return the parameters of all modules of some kinds."""
    modules = (module for module in model.modules() if isinstance(module, kinds))
    return {p for module in modules for p in module.parameters(recurse=False)}
