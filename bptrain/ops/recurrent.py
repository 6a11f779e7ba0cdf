"""Layers upon layers, in one direction or two: what rnn, lstm and gru share around the walk."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bptrain.ops.autocast import product_dtype
from bptrain.ops.bptt import Cell, Plan, State, WalkFunction, Weights
from bptrain.ops.cat import cat
from bptrain.ops.dropout import dropout
from bptrain.ops.time_steps import Steps


class Layers(NamedTuple):
    """How the walks are put together; the fields are torch's arguments."""

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
    keeps_wide: tuple[bool, ...],
) -> tuple[Tensor, State]:
    """Return y and the last states [L D, N, ...] of L layers in D directions.

    keeps_wide  for each state, whether the CPU's autocast leaves it in a wider dtype than that of
                the products, as torch's does where no fused kernel takes the whole layer
    """
    directions = 2 if layers.bidirectional else 1
    weights = _grouped(params, layers, directions)
    sizes = _sizes(input, layers)
    start = _started(cell, input, hx, weights[0], (len(weights),), sizes[0], keeps_wide)
    by_walk = [each.unbind(0) for each in start]
    ahead = _plan(cell, input, sizes, start, keeps_wide)
    plans = (ahead, ahead._replace(steps=Steps(sizes, is_reverse=True)))

    x = input.transpose(0, 1) if layers.batch_first else input
    last: list[State] = []
    for layer in range(layers.num_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            y, *states = WalkFunction.apply(
                plans[direction], x, *weights[k], *[each[k] for each in by_walk]
            )
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
    cell: Cell, input: Tensor, hx: State | None, weights: Weights, keeps_wide: tuple[bool, ...]
) -> State:
    """Return the states [N, ...] or [...] after one step from `hx` with input [N, I] or [I]."""
    if input.dim() not in (1, 2):
        raise ValueError(f"input has shape {list(input.shape)}, expected [N, I] or [I]")
    is_batched = input.dim() == 2
    if not is_batched:
        input = input.unsqueeze(0)
        hx = None if hx is None else tuple(each.unsqueeze(0) for each in hx)
    start = _started(cell, input, hx, weights, (), input.shape[0], keeps_wide)
    plan = _plan(cell, input, (input.shape[0],), start, keeps_wide)
    h, _, *others = WalkFunction.apply(plan, input, *weights, *start)
    return (h, *others) if is_batched else tuple(each.squeeze(0) for each in (h, *others))


def _plan(
    cell: Cell, input: Tensor, sizes: tuple[int, ...], start: State, keeps_wide: tuple[bool, ...]
) -> Plan:
    dtype = product_dtype(input)
    is_cpu = input.device.type == "cpu"
    state_dtypes = tuple(
        torch.promote_types(dtype, each.dtype) if is_wide and is_cpu else dtype
        for each, is_wide in zip(start, keeps_wide, strict=True)
    )
    return Plan(cell, Steps(sizes), dtype, state_dtypes)


def _grouped(params: Sequence[Tensor], layers: Layers, directions: int) -> list[Weights]:
    """Return the parameters of each walk from torch's flat list."""
    walks = layers.num_layers * directions
    plain = 4 if layers.has_biases else 2
    size = len(params) // walks
    if len(params) % walks or size not in (plain, plain + 1):
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
        sizes = tuple(layers.batch_sizes.tolist())
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
    keeps_wide: tuple[bool, ...],
) -> State:
    """Return the first states [*leading, N, ...], zeros if none are given; check their shapes."""
    H, P = weights.W_hh.shape[0] // cell.reached, weights.W_hh.shape[1]
    if input.shape[-1] != weights.W_ih.shape[1]:
        raise ValueError(f"input has {input.shape[-1]} features, expected {weights.W_ih.shape[1]}")
    expected = [(*leading, count, width) for width in (P, H)[: len(keeps_wide)]]
    if hx is None:
        return tuple(input.new_zeros(shape) for shape in expected)
    for each, shape in zip(hx, expected, strict=True):
        if each.shape != shape:
            raise ValueError(f"hx has shape {list(each.shape)}, expected {list(shape)}")
        if each.dtype != input.dtype and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(f"hx is {each.dtype}, expected the input's {input.dtype}")
    return tuple(hx)
