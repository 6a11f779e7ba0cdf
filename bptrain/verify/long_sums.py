"""Sums over many rows in 16 bits: sizes and upstream gradients at which one goes wrong shows.

A sum held in bfloat16 stops growing at 256 times its terms, in float16 at 2,048. The few samples
of a check do not show that, nor random upstream gradients, whose sum stays near 0. So a layer's
batch is repeated until it has thousands of samples, with upstream gradients of one sign, and the
gradients of its parameters are compared with those in float64. torch's own error is no bound
here: some of its kernels hold such sums in 16 bits.
"""

from collections.abc import Iterator

import torch

from bptrain.verify.comparison import SMALLEST, Comparison
from bptrain.verify.layer_calls import LayerCall
from bptrain.verify.named_tensors import PARAMETER, Tensors
from bptrain.verify.parity import GRADIENT, aligned, differentiable, parity

ROWS = 8192  # terms: a sum held in float16 is off by half
MOST = 2**20  # elements of the repeated input
TOTAL = 4096.0  # of the upstream gradients: float16 holds sums up to 65,504
SMALL = 0.01  # times the largest gradient: a smaller one cancelled, as a slope after normalization
LOST = 0.25  # relative; rounding leaves at most a few hundredths, a sum in 16 bits half or less


def lost_sums(call: LayerCall, point: Tensors, precision: torch.dtype) -> Iterator[Comparison]:
    """Yield each parameter's gradient that a sum in 16 bits has lost.

    Layers that take one input whose first axis is the batch are looked at: of recurrent layers and
    attention that axis may be time, whose sums are those of the layers within a step.
    """
    names = [name for name in call.differentiable if name.startswith(PARAMETER)]
    inputs = [name for name in point if not name.startswith(PARAMETER)]
    if call.is_whole or not names or inputs != ["input"] or hasattr(call.module, "batch_first"):
        return
    repeated = _repeated(point)
    rounded = {k: _in(torch.float32, v) for k, v in repeated.items()}
    rounded["input"] = _in(precision, rounded["input"])
    widened = {k: _in(torch.float64, v) for k, v in rounded.items()}
    try:
        exact = _gradients(call, widened, names, precision)
    except (RuntimeError, ValueError, IndexError):
        return  # the layer takes no other batch size
    with torch.autocast(rounded["input"].device.type, precision):
        found = _gradients(call, rounded, names, precision)
    largest = max((float(each.abs().max()) for each in exact.values() if each.numel()), default=0.0)
    for each in parity(*aligned(found, exact), SMALL * largest + SMALLEST):
        if not each.relative_error <= LOST:
            yield each


def _repeated(point: Tensors) -> Tensors:
    """Return the point with its batch repeated."""
    x = point["input"]
    if x.dim() == 0 or x.numel() == 0:
        return point
    times = min(-(-ROWS // len(x)), max(MOST // x.numel(), 1))
    return point | {"input": x.repeat(times, *[1] * (x.dim() - 1))}


def _in(dtype: torch.dtype, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _gradients(
    call: LayerCall, tensors: Tensors, names: list[str], precision: torch.dtype
) -> Tensors:
    """Return the gradients by these tensors, of upstream gradients that are all positive."""
    leaves = {name: tensors[name].detach().requires_grad_() for name in names}
    # parameters first: buffers take the dtype of the first tensor
    given = leaves | {name: each for name, each in tensors.items() if name not in leaves}
    outputs = differentiable(call.as_function(call.module)(given))
    gradients = torch.autograd.grad(
        list(outputs.values()),
        list(leaves.values()),
        [_of_one_sign(output, precision) for output in outputs.values()],
        allow_unused=True,
    )
    return {
        GRADIENT + name: gradient
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None
    }


def _of_one_sign(output: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Return positive upstream gradients that sum to about TOTAL, the same in every dtype."""
    drawn = torch.rand(output.shape, generator=torch.Generator().manual_seed(0)) + 0.5
    scaled = drawn * (TOTAL / max(output.numel(), 1))
    return scaled.to(precision).to(output.device, output.dtype)
