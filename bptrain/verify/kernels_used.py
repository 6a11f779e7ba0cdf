"""Which choices of kernels make a difference to a function."""

from collections.abc import Callable, Mapping

from torch import Tensor

from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.ops.operation import operations_behind
from bptrain.verify.named_tensors import Tensors
from bptrain.verify.parity import differentiable


def kernels_used(
    function: Callable[[Tensors], Mapping[str, Tensor]], tensors: Tensors, names: list[str]
) -> tuple[Kernels, ...]:
    """Return fused and formula where an operation has a kernel beside its formula, else formula.

    names  the tensors that are differentiated
    """
    leaves = {name: each.detach().requires_grad_(name in names) for name, each in tensors.items()}
    found = []
    for kernels in ("fused", "formula"):
        with use_kernels(kernels):
            found.append(operations_behind(differentiable(function(leaves)).values()))
    fused, formula = found
    if fused != formula or any(operation.has_kernel for operation in fused):
        return "fused", "formula"
    return ("formula",)
