"""Numbers as people read them: small tensors whole, of large ones what describes them."""

from torch import Tensor

from bptrain.monitor.explanation.links import Index

MINUS = "\N{MINUS SIGN}"  # as wide as a plus
MOST_NUMBERS = 16  # of a tensor that is shown whole
MOST_COLUMNS = 8


def number(value: float) -> str:
    """Return a number with four digits; 0 has no sign."""
    return f"{value or 0.0:.4g}".replace("-", MINUS)


def exact(value: float) -> str:
    """Return a number with ten digits, to be compared with another one."""
    return f"{value:.10g}".replace("-", MINUS)


def shape(tensor: Tensor) -> str:
    """Return a tensor's shape."""
    return f"[{', '.join(map(str, tensor.shape))}]" if tensor.dim() else "a number"


def element(letter: str, index: Index) -> str:
    """Return how an element is called."""
    return f"{letter}[{','.join(map(str, index))}]" if index else letter


def is_small(tensor: Tensor) -> bool:
    """Return whether every number of a tensor is shown."""
    columns = tensor.shape[-1] if tensor.dim() else 1
    return 0 < tensor.numel() <= MOST_NUMBERS and columns <= MOST_COLUMNS


def rows(tensor: Tensor) -> list[list[str]]:
    """Return the numbers of a small tensor, row by row."""
    table = tensor.reshape(-1, tensor.shape[-1] if tensor.dim() else 1)
    return [[number(each) for each in row] for row in table.tolist()]


def summary(tensor: Tensor) -> str:
    """Return what describes a large tensor."""
    if not tensor.numel():
        return "no elements"
    values = tensor.detach().double()
    norm = number(float(values.norm()))
    low, high = (number(float(each)) for each in (values.min(), values.max()))
    if low == high:
        return f"all {low}"
    zeros = float((values == 0).double().mean())
    sparse = f", {zeros:.0%} zeros" if zeros >= 0.01 else ""
    return f"{low} to {high}, norm {norm}{sparse}"
