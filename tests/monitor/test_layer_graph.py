"""The graph of a model on the board, from the record of its step."""

import torch
from torch import Tensor
from torch.nn import functional

from bptrain import nn
from bptrain.monitor.layer_graph import MOST_ENTRIES, graph_of
from bptrain.tape import Step


class Residual(nn.Module):
    """Two branches that are added, and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, 3]."""
        return self.head(x + self.body(self.body(x)))


def recorded(model: torch.nn.Module, x: Tensor, target: Tensor) -> Step:
    step = Step(model, functional.cross_entropy)
    step(x, target)
    return step


def test_each_operation_names_its_layer_what_it_reads_and_its_shape() -> None:
    torch.manual_seed(0)
    model = Residual()
    step = recorded(model, torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))
    (record,) = step.recorded.values()
    graph = graph_of(record, model)
    assert graph is not None
    nodes = {node.name: node for node in graph.node}
    assert len(nodes) == len(graph.node)
    seen: set[str] = set()
    for node in graph.node:  # in an order in which each reads what was computed before
        assert {source.partition(":")[0] for source in node.input} <= seen
        seen.add(node.name)
    assert list(nodes["body/0/linear"].input) == ["input", "body/0/weight", "body/0/bias"]
    assert nodes["body/0/linear_2"].input[0] == "body/1/relu"  # the second use
    assert set(nodes["add"].input) == {"input", "body/1/relu_2"}
    assert nodes["head/linear"].input[0] == "add"
    (shape,) = nodes["head/linear"].attr["_output_shapes"].list.shape
    assert [dim.size for dim in shape.dim] == [5, 3]
    (shape,) = nodes["head/weight"].attr["_output_shapes"].list.shape
    assert [dim.size for dim in shape.dim] == [3, 4]
    (loss,) = (node for node in graph.node if node.name.startswith("loss/"))
    assert set(loss.input) == {"head/linear", "target"}


def test_a_step_too_large_to_be_looked_at_has_no_graph() -> None:
    model = Residual()
    step = recorded(model, torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))
    (record,) = step.recorded.values()
    many = record.with_entries(record.entries * MOST_ENTRIES, record.boundary)
    assert graph_of(many, model) is None
