"""Which modules of a model are gathered together, without any process."""

import torch
from torch import nn

from bptrain.train.sharding import bytes_of, no_writing, units_of


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))


class Network(nn.Module):
    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        for name, child in children.items():
            self.add_module(name, child)


def names(model: nn.Module) -> list[str]:
    named = {module: name for name, module in model.named_modules()}
    return [named[unit] for unit in units_of(model)]


def test_units_are_layers_and_blocks_inside_containers() -> None:
    stages = nn.Sequential(nn.Sequential(block(), block()), nn.Sequential(block(), nn.ReLU()))
    assert names(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))) == ["0", "2"]
    assert names(Network(first=nn.Linear(2, 2), stages=stages)) == [
        *("first", "stages.0.0", "stages.0.1", "stages.1.0")
    ]


def test_a_network_that_is_the_only_child_is_looked_into() -> None:
    inner = Network(blocks=nn.ModuleList([block(), block()]), head=nn.Linear(2, 2))
    assert names(Network(network=inner)) == ["network.blocks.0", "network.blocks.1", "network.head"]


def test_a_weight_of_two_units_is_in_none() -> None:
    model = Network(first=nn.Linear(2, 2), middle=nn.Linear(2, 2), last=nn.Linear(2, 2))
    model.last.weight = model.first.weight
    assert names(model) == ["middle"]
    assert bytes_of(model.middle) == 4 * 6


def test_no_layer_writes_into_what_another_unit_returned() -> None:
    model = nn.Sequential(block(), nn.ReLU(inplace=True))
    no_writing(model)
    assert not any(getattr(module, "inplace", False) for module in model.modules())
