"""Stacked layers, in one direction or two: what rnn, lstm and gru share around the scan."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.bptt import bptt_function
from bptrain.ops.cat import cat
from bptrain.ops.dropout import dropout
from bptrain.ops.kernels import use_kernels
from bptrain.ops.packed_rows import sizes_of
from bptrain.ops.scan import Cell, Scan, State, Weights
from bptrain.ops.time_steps import Steps


class Layers(NamedTuple):
    """How the scans are put together; the fields are torch's arguments."""

    has_biases: bool
    num_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool
    batch_sizes: Tensor | None


def recurrent(
    cell: Cell,
    input: Tensor,
    hx: State | None,
    params: Sequence[Tensor],
    layers: Layers,
    stays_wide: tuple[bool, ...],
) -> tuple[Tensor, State]:
    """Return y and the last states [L D, N, ...] of L layers in D directions.

    stays_wide  as in `Scan`
    """
    directions = 2 if layers.bidirectional else 1
    weights = _grouped(params, layers, directions)
    sizes = _sizes(input, layers)
    start = _started(cell, input, hx, weights[0], (len(weights),), sizes[0], stays_wide)
    by_scan = list(zip(*[each.unbind(0) for each in start], strict=True))
    scans = [Scan(cell, Steps(sizes, is_reverse), stays_wide) for is_reverse in (False, True)]

    x = input.transpose(0, 1) if layers.batch_first else input
    last: list[State] = []
    for layer in range(layers.num_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            y, states = _scanned(scans[direction], x, weights[k], by_scan[k])
            outputs.append(y)
            last.append(tuple(each.unsqueeze(0) for each in states))
        x = _joined(outputs, -1)
        if layer < layers.num_layers - 1:
            x = dropout(x, layers.dropout, layers.train)
    y = x.transpose(0, 1) if layers.batch_first else x
    return y, tuple(_joined(each, 0) for each in zip(*last, strict=True))


def _joined(tensors: Sequence[Tensor], dim: int) -> Tensor:
    return cat(tensors, dim) if len(tensors) > 1 else tensors[0]


def one_step(
    cell: Cell, input: Tensor, hx: State | None, weights: Weights, stays_wide: tuple[bool, ...]
) -> State:
    """Return the states [N, ...] or [...] after one step from `hx` with input [N, I] or [I]."""
    if input.dim() not in (1, 2):
        raise ValueError(f"input has shape {list(input.shape)}, expected [N, I] or [I]")
    is_batched = input.dim() == 2
    if not is_batched:
        input = input.unsqueeze(0)
        hx = None if hx is None else tuple(each.unsqueeze(0) for each in hx)
    start = _started(cell, input, hx, weights, (), input.shape[0], stays_wide)
    scan = Scan(cell, Steps((input.shape[0],)), stays_wide)
    _, states = _scanned(scan, input, weights, start)
    return states if is_batched else tuple(each.squeeze(0) for each in states)


def _scanned(scan: Scan, x: Tensor, weights: Weights, start: State) -> tuple[Tensor, State]:
    """Return y and the last states."""
    h_0, c_0 = start if len(start) > 1 else (*start, None)
    if torch.compiler.is_exporting():
        # An exported graph runs its operations under autograd, which refuses to record writes into
        # views: it gets the out-of-place steps.
        with use_kernels("formula"):
            y, h, c, *_ = bptt_function(x, *weights, h_0, c_0, scan)
    else:
        y, h, c, *_ = bptt_function(x, *weights, h_0, c_0, scan)
    return y, (h,) if c is None else (h, c)


def _grouped(params: Sequence[Tensor], layers: Layers, directions: int) -> list[Weights]:
    """Return the parameters of each scan from torch's flat list."""
    scans = layers.num_layers * directions
    plain = 4 if layers.has_biases else 2
    size = len(params) // scans
    if len(params) % scans or size not in (plain, plain + 1):
        raise ValueError(
            f"params has {len(params)} tensors, expected {plain} (or {plain + 1} with a "
            f"projection) for each of {layers.num_layers} layers in {directions} directions"
        )
    weights = []
    for first in range(0, len(params), size):
        W_ih, W_hh, *rest = params[first : first + size]
        b_ih, b_hh = rest[:2] if layers.has_biases else (None, None)
        weights.append(Weights(W_ih, W_hh, b_ih, b_hh, rest[-1] if size > plain else None))
    return weights


def _sizes(input: Tensor, layers: Layers) -> tuple[int, ...]:
    """Return how many sequences each time step has."""
    if not 0 <= layers.dropout <= 1:
        raise ValueError(f"dropout is {layers.dropout}, expected 0 to 1")
    if layers.batch_sizes is None:
        if input.dim() != 3:
            raise ValueError(f"input has shape {list(input.shape)}, expected three axes")
        T, N = (input.shape[1], input.shape[0]) if layers.batch_first else input.shape[:2]
        sizes = (N,) * T
    else:
        sizes = sizes_of(layers.batch_sizes)
        if input.dim() != 2 or sum(sizes) != input.shape[0]:
            raise ValueError(
                f"input has shape {list(input.shape)}, expected [{sum(sizes)}, I]: one row for "
                "each of the sequences that batch_sizes counts at each time step"
            )
        if list(sizes) != sorted(sizes, reverse=True):
            raise ValueError(f"batch_sizes is {list(sizes)}, expected the largest first")
    if not sizes:
        raise ValueError("input has no time step, expected at least one")
    return sizes


def _started(
    cell: Cell,
    input: Tensor,
    hx: State | None,
    weights: Weights,
    leading: tuple[int, ...],
    count: int,
    stays_wide: tuple[bool, ...],
) -> State:
    """Return the first states [*leading, N, ...], zeros if none are given; check their shapes."""
    H, P = weights.W_hh.shape[0] // cell.gates, weights.W_hh.shape[1]
    if input.shape[-1] != weights.W_ih.shape[1]:
        raise ValueError(f"input has {input.shape[-1]} features, expected {weights.W_ih.shape[1]}")
    expected = [(*leading, count, width) for width in (P, H)[: len(stays_wide)]]
    if hx is None:
        return tuple(input.new_zeros(shape) for shape in expected)
    for each, shape in zip(hx, expected, strict=True):
        if each.shape != shape:
            raise ValueError(f"hx has shape {list(each.shape)}, expected {list(shape)}")
        if each.dtype != input.dtype and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(f"hx is {each.dtype}, expected the input's {input.dtype}")
    return tuple(hx)
