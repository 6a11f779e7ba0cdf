"""Networks drawn at random: chains, residuals, concatenations, shared weights, several losses."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bptrain import nn
from bptrain.ops import add, cat
from bptrain.tape import record

ROWS, WIDTH = 4, 6
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.ELU)
LAYERS = ("linear", "shared", "activation", "norm", "layer norm", "dropout", "add", "cat", "views")
Node = tuple[str, int, int]  # a layer, and the values that it reads


class Drawn(torch.nn.Module):
    """Values [ROWS, WIDTH], each computed from earlier ones; some are read by the loss."""

    def __init__(self, nodes: list[Node], outputs: list[int]) -> None:
        super().__init__()
        self.nodes, self.outputs = nodes, outputs
        self.shared, self.norm = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)
        self.layers = torch.nn.ModuleList(self._layer(*node) for node in nodes)

    def _layer(self, kind: str, first: int, second: int) -> torch.nn.Module:
        if kind == "cat":
            return nn.Linear(2 * WIDTH, WIDTH, bias=second % 2 == 0)
        if kind == "linear":
            return nn.Linear(WIDTH, WIDTH, bias=second % 2 == 0)
        if kind == "activation":
            return ACTIVATIONS[second % len(ACTIVATIONS)]()
        return {"norm": self.norm, "shared": self.shared, "dropout": nn.Dropout(0.4)}.get(
            kind, nn.LayerNorm(WIDTH)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        values = [x]
        for (kind, first, second), layer in zip(self.nodes, self.layers, strict=True):
            a, b = values[first % len(values)], values[second % len(values)]
            if kind == "add":
                values.append(add(a, b))
            elif kind == "cat":
                values.append(layer(cat([a, b], 1)))
            elif kind == "views":
                values.append(a.unsqueeze(1).transpose(0, 2).contiguous().squeeze(1).t())
            else:
                values.append(layer(a))
        return [values[each % len(values)] for each in self.outputs]


class Losses(torch.nn.Module):
    """The sum of several losses, one for each output."""

    def forward(self, outputs: list[Tensor], *targets: Tensor) -> Tensor:
        kinds: list[Any] = [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss()]
        losses = [
            kinds[n % 3](output, target)
            for n, (output, target) in enumerate(zip(outputs, targets, strict=True))
        ]
        total = losses[0]
        for each in losses[1:]:
            total = add(total, each)
        return total


NODES = st.lists(
    st.tuples(st.sampled_from(LAYERS), st.integers(0, 20), st.integers(0, 20)),
    min_size=1,
    max_size=9,
)


networks = given(NODES, st.lists(st.integers(0, 20), min_size=1, max_size=3), st.integers(0, 99))


@settings(max_examples=80, deadline=None, derandomize=True)
@networks
def test_tape_and_autograd_are_equal(nodes: list[Node], outputs: list[int], seed: int) -> None:
    check_equal(nodes, outputs, seed)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, derandomize=True)
@networks
def test_they_are_equal_for_many_more(nodes: list[Node], outputs: list[int], seed: int) -> None:
    check_equal(nodes, outputs, seed)


def check_equal(nodes: list[Node], outputs: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    model = Drawn([("shared", 0, 0), *nodes], [1, *outputs])
    plain, loss = deepcopy(model), Losses()
    targets = [torch.randn(ROWS, WIDTH) for _ in model.outputs]
    step = record(model, loss)
    for _ in range(2):
        x = torch.randn(ROWS, WIDTH)
        state = torch.get_rng_state()
        ours = step(x, *targets)
        torch.set_rng_state(state)
        reference = loss(plain(x), *targets)
        reference.backward()
        assert torch.equal(ours, reference.detach())
    assert step.reasons == []
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-7)
    for a, b in zip(model.buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b)
