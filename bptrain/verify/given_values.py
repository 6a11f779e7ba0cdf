"""Gradients at exactly the given inputs: their zeros and equal values, where kinks are.

There no derivative exists, and several gradients may be right: torch's is one of them. What differs
here and nowhere near is told as such and does not fail, but for a NaN or an infinity.
"""

from collections.abc import Callable, Iterator

from bptrain.verify.comparison import Comparison
from bptrain.verify.finite_differences import Sampling, differences
from bptrain.verify.layer_calls import LayerCall
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import aligned, outcomes, parity

LOOKED_AT = Sampling(elements=12, directions=0)
Function = Callable[[Tensors], Tensors]


def compared_as_given(
    call: LayerCall, seed: int, same: float, noise: Callable[[Tensors], float]
) -> Iterator[Comparison]:
    """Yield what differs at the given inputs, from torch or without it from finite differences.

    Modules without a backward pass of their own are left out: their gradients are torch's.
    """
    ours, names = call.as_function(call.module), call.differentiable
    if call.reference is not None:
        theirs = call.as_function(call.reference)
        mine, expected = aligned(*(outcomes(f, call.given, names, seed) for f in (ours, theirs)))
        for found in parity(mine, expected, noise(expected)):
            if not found.relative_error <= same:
                yield found
    elif is_by_hand(ours, call.given, names):
        for each in differences(ours, call.given, names, seed, LOOKED_AT):
            if each.outside is not None:
                yield each.outside
            if each.found is not None and each.is_wrong:
                yield each.found


def is_by_hand(function: Function, tensors: Tensors, names: list[str]) -> bool:
    """Tell whether a torch.autograd.Function takes part."""
    leaves = {name: each.detach().requires_grad_(name in names) for name, each in tensors.items()}
    waiting = [output.grad_fn for output in function(leaves).values()]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if hasattr(node, "_forward_cls"):
            return True
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return False
