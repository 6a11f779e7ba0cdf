"""Models: shapes, starting weights, and what the summary says of them."""

import pytest
import torch
from graphs import foreign_nodes

from bptrain import nn
from bptrain.models import summarize
from bptrain.models.losses import CrossEntropyConfig, MSEConfig
from bptrain.models.mlp import MLPConfig
from bptrain.problem import Problem


def problem(input_shape: tuple[int, ...], classes: int) -> Problem:
    return Problem("classification", input_shape, classes)


PROBLEM = problem((4,), 3)


def test_an_mlp_is_its_layers_by_name() -> None:
    model = MLPConfig(hidden=[5, 4], activation="tanh").build(problem((1, 2, 3), 7), "cpu")
    assert [name for name, _ in model.named_children()] == [
        "linear1",
        "tanh1",
        "linear2",
        "tanh2",
        "output",
    ]
    assert model(torch.randn(9, 1, 2, 3)).shape == (9, 7)


def test_no_hidden_layer_is_a_linear_classifier() -> None:
    model = MLPConfig(hidden=[]).build(problem((6,), 3), "cpu")
    assert [type(layer) for layer in model.children()] == [nn.Linear]


def test_every_layer_is_ours() -> None:
    for activation in ("relu", "tanh", "sigmoid"):
        model = MLPConfig(activation=activation).build(problem((4,), 2), "cpu")
        assert all(type(m).__module__.startswith("bptrain") for m in model.modules())


@pytest.mark.parametrize("loss", [CrossEntropyConfig(label_smoothing=0.1), MSEConfig()])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_every_node_between_the_loss_and_the_weights_is_ours(
    activation: str, loss: CrossEntropyConfig
) -> None:
    model = MLPConfig(hidden=[5, 4], activation=activation).build(problem((1, 2, 2), 3), "cpu")
    outputs = loss.build(PROBLEM)(model(torch.randn(6, 1, 2, 2)), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert foreign_nodes([outputs]) == set()


@pytest.mark.parametrize(
    ("init", "activation", "deviation"),
    [
        ("kaiming", "relu", (2 / 400) ** 0.5),
        ("kaiming", "tanh", 5 / 3 / 400**0.5),
        ("xavier", "relu", (2 * 2 / 1000) ** 0.5),
        ("xavier", "sigmoid", (2 / 1000) ** 0.5),
        ("default", "relu", 1 / (3 * 400) ** 0.5),
    ],
)
def test_starting_weights_have_the_named_spread(
    init: str, activation: str, deviation: float
) -> None:
    torch.manual_seed(0)
    config = MLPConfig(hidden=[600], activation=activation, init=init)
    model = config.build(problem((400,), 2), "cpu")
    assert model.linear1.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert (model.linear1.bias == 0).all() == (init != "default")


def test_the_summary_counts_what_a_real_forward_pass_keeps() -> None:
    config = MLPConfig(hidden=[6, 5])
    rows = summarize(config.build(PROBLEM, "meta"), PROBLEM, batch_size=8)
    assert [(row.name, row.output_shape, row.parameters) for row in rows] == [
        ("linear1", (8, 6), 30),
        ("relu1", (8, 6), 0),
        ("linear2", (8, 5), 35),
        ("relu2", (8, 5), 0),
        ("output", (8, 3), 18),
    ]
    # linear1 keeps the batch; each ReLU's output is the next layer's input, counted once
    assert [row.kept_bytes for row in rows] == [8 * 4 * 4, 8 * 6 * 4, 0, 8 * 5 * 4, 0]

    model, kept = config.build(problem((4,), 3), "cpu"), {}
    parameters = {p.data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.randn(8, 4))
    assert sum(t.nbytes for t in kept.values()) == sum(row.kept_bytes for row in rows)


def test_a_model_of_petabytes_is_summarized_without_memory() -> None:
    model = MLPConfig(hidden=[1_000_000, 1_000_000]).build(problem((64,), 10), "meta")
    assert sum(row.parameters for row in summarize(model, problem((64,), 10), 64)) > 10**12


def test_label_smoothing_reaches_the_loss() -> None:
    logits, target = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    loss = CrossEntropyConfig(label_smoothing=0.25).build(PROBLEM)
    expected = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.25)
    torch.testing.assert_close(loss(logits, target), expected)


def test_mse_compares_with_one_hot_labels() -> None:
    outputs = torch.tensor([[0.5, 0.5, 0.0]])
    assert MSEConfig().build(PROBLEM)(outputs, torch.tensor([1])).item() == pytest.approx(0.5 / 3)
