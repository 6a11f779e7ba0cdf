"""One output pixel of a convolution: the window it reads, and how its gradient scatters over it."""

from dataclasses import replace

import torch
from torch import Tensor

from bptrain.monitor.explanation.collecting import (
    Seen,
    by_letter,
    pulled_back,
    strongest,
)
from bptrain.monitor.explanation.links import Index, Window
from bptrain.ops.convolution import Geometry
from bptrain.tape.calls import Call, Value


def window_of(seen: Seen, link: int, title: str, room: int) -> Window | None:
    """Return the output pixel with the largest gradient; None if it is no convolution of planes."""
    entry, upstream = seen.entry, seen.upstream[0] if seen.upstream else None
    if not isinstance(entry, Call) or entry.operation.name != "conv" or upstream is None:
        return None
    x, W, *_ = (seen.read.get(each.number) for each in entry.arguments if isinstance(each, Value))
    geometry = next(each for each in entry.arguments if isinstance(each, Geometry))
    if x is None or W is None or x.dim() not in (3, 4):
        return None
    index = strongest(upstream, 1)[0] if upstream.numel() > 1 else (0,) * upstream.dim()
    slopes = _slopes(entry, seen, index, room)
    output, value = seen.outputs[0], float(upstream[index])
    assert output is not None
    meets = slopes["W"][index[1]] * W[index[1]]  # [C/G, R(, S)]
    shares = meets.flatten(1).sum(1)
    within = int(shares.abs().argmax())
    channel = within + index[1] // (W.shape[0] // geometry.groups) * W.shape[1]
    return Window(
        link=link,
        title=title,
        at=index,
        value=float(output[index]),
        upstream=value,
        channel=channel,
        plane=_plane(x[index[0], channel]),
        corner=_corner(index[2:], W.shape[2:], geometry),
        patch=_plane(slopes["W"][index[1], within]),
        kernel=_plane(W[index[1], within]),
        rest=float(output[index]) - float(shares[within]),
        scatter=_plane(value * slopes["x"][index[0], channel]),
    )


def _slopes(entry: Call, seen: Seen, index: Index, room: int) -> dict[str, Tensor]:
    """Return dy/dx and dy/dW of one pixel, though the step itself may not need x'."""
    needed = tuple(isinstance(each, Value) for each in entry.arguments)
    whole = replace(entry, needed=needed)
    values: dict[int, Tensor] = dict(seen.read)
    with torch.no_grad():
        saved = whole.forward(values)
    upstream = torch.zeros_like(values[entry.outputs[0] or 0])
    upstream[index] = 1
    return by_letter(whole, pulled_back(whole, [upstream], saved, room))


def _plane(values: Tensor) -> Tensor:
    """Return values of one or two spatial axes as a plane."""
    return values.unsqueeze(0) if values.dim() == 1 else values


def _corner(position: Index, kernel: torch.Size, geometry: Geometry) -> tuple[int, int, int, int]:
    """Return the window's first row and column, and how many rows and columns it spans."""
    axes = zip(position, geometry.stride, geometry.padding, strict=True)
    first = [j * u - p for j, u, p in axes]
    spans = [v * (R - 1) + 1 for R, v in zip(kernel, geometry.dilation, strict=True)]
    if len(first) == 1:
        first, spans = [0, *first], [1, *spans]
    return first[0], first[1], spans[0], spans[1]
