"""A step's matrix products and convolutions: their number of operations, and their time alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

Spec = tuple[tuple[int, ...], tuple[int, ...], torch.dtype, torch.device]

PEAK_SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is timed
ONEDNN_PRODUCT = "_linear_pointwise"  # an operation of torch's, where it was built with oneDNN
COPIED_NUMBERS = 2**24  # float32: 64 MiB, more than a processor's cache


class Products(TorchDispatchMode):
    """Records every matrix product and convolution that runs inside the block.

    flops  their additions and multiplications
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.calls: list[tuple[Callable[..., Any], Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation of torch, and record it if it is a product."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        flops = flops_of(func.overloadpacket, args, kwargs, output)
        if flops:
            self.flops += flops
            self.calls.append((func, tree_map(_spec, args), tree_map(_spec, kwargs)))
        return output

    @property
    def has_images(self) -> bool:
        """Whether there is a convolution of images."""
        leaves = tree_leaves([(args, kwargs) for _, args, kwargs in self.calls])
        return any(isinstance(each, _Spec) and len(each.spec[0]) == 4 for each in leaves)

    def alone(self, images: torch.memory_format = torch.preserve_format) -> Callable[[], None]:
        """Return a function that computes the same products on random numbers, and nothing else.

        images  memory format of operands of four axes

        Operands of one shape share their memory, so that no more is held than a step needs.
        """
        operands: dict[Spec, Tensor] = {}

        def operand(value: Any) -> Any:
            if not isinstance(value, _Spec):
                return value
            if value.spec not in operands:
                drawn = _random(*value.spec)
                is_image = drawn.dim() == 4 and images != torch.preserve_format
                operands[value.spec] = drawn.contiguous(memory_format=images) if is_image else drawn
            return operands[value.spec]

        calls = [(func, tree_map(operand, a), tree_map(operand, k)) for func, a, k in self.calls]

        def run() -> None:
            with torch.no_grad():
                for func, args, kwargs in calls:
                    func(*args, **kwargs)

        return run


class _Spec:
    """What is recorded of a tensor; a class, because pytree would take a tuple apart."""

    def __init__(self, tensor: Tensor) -> None:
        self.spec: Spec = (tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)


def flops_of(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
    """Return the additions and multiplications of a product; 0 for any other operation."""
    if packet in IN_PLACE:
        _, first, second = args[:3]
        return 2 * int(first.numel()) * int(second.shape[-1])
    if packet not in flop_registry:
        return 0
    return int(flop_registry[packet](*args, **kwargs, out_val=output))


IN_PLACE = (torch.ops.aten.addmm_, torch.ops.aten.baddbmm_)  # which torch's own count leaves out


def matmul_probes(
    device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, Callable[[], object]], int]:
    """Return a product of square matrices by each route there is, and its operations.

    torch     torch.mm, which for float32 on an x86 CPU is MKL's
    oneDNN    of float32 on a CPU: on some processors twice as fast
    """
    side = PEAK_SIDE.get(device.type, PEAK_SIDE["cpu"])
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    routes: dict[str, Callable[[], object]] = {"torch": lambda: torch.mm(a, b.t(), out=out)}
    onednn = getattr(torch.ops.mkldnn, ONEDNN_PRODUCT, None)
    if onednn is not None and device.type == "cpu" and dtype == torch.float32:
        routes["oneDNN"] = lambda: onednn(a, b, None, "none", [], "")
    return routes, 2 * side**3


def copy_probe(device: torch.device) -> tuple[Callable[[], object], int]:
    """Return a copy in memory, by which its bandwidth is measured, and the bytes that it moves."""
    source = torch.randn(COPIED_NUMBERS, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2 * source.numel() * source.element_size()


def _spec(value: Any) -> Any:
    return _Spec(value) if isinstance(value, Tensor) else value


def _random(
    shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return a tensor whose axes may share memory, as an expanded bias's do."""
    last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True) if size)
    numbers = torch.randn(last + 1, device=device) * 1e-2
    return numbers.to(dtype).as_strided(shape, stride)
