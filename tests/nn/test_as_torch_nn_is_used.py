"""`import bptrain.nn as nn` in place of `import torch.nn as nn`."""

import inspect

import pytest
import torch

import bptrain.nn.from_torch
from bptrain import nn

# abstract, deprecated or experimental: nobody builds a network of them
LEFT_OUT = {"Container", "LinearCrossEntropyLoss", "NLLLoss2d", "RNNBase", "RNNCellBase"}


def test_every_module_of_torch_is_there() -> None:
    for name, kind in inspect.getmembers(torch.nn, inspect.isclass):
        if issubclass(kind, torch.nn.Module) and name not in LEFT_OUT:
            assert issubclass(getattr(nn, name), kind), name


def test_a_module_is_either_written_out_here_or_torchs() -> None:
    assert not set(nn.__all__) & set(bptrain.nn.from_torch.__all__)
    for name in bptrain.nn.from_torch.__all__:
        assert getattr(nn, name) is getattr(torch.nn, name)


def test_a_network_is_written_as_for_torch() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Identity(), nn.Linear(4, 2))
            self.scale = nn.Parameter(torch.ones(2))
            nn.init.zeros_(self.layers[0].bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x) * self.scale

    net = Net()
    nn.CrossEntropyLoss()(net(torch.randn(5, 3)), torch.tensor([0, 1, 1, 0, 1])).backward()
    assert all(each.grad is not None for each in net.parameters())


@pytest.mark.parametrize("name", ["ReLU", "Conv2d", "LSTM", "CrossEntropyLoss"])
def test_the_help_of_a_module_shows_its_derivation(name: str) -> None:
    shown = inspect.getdoc(getattr(nn, name))
    assert shown is not None
    assert "bptrain/ops/" in shown
    assert "Backward" in shown
    assert "because" in shown
