"""Models: shapes, starting weights, and what the summary says of them."""

from typing import get_args

import pytest
import torch
from graphs import foreign_nodes

from bptrain import nn
from bptrain.errors import UsageError
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.losses.squared_error import MSEConfig
from bptrain.models import summarize
from bptrain.models.activations import Activation
from bptrain.models.initialization import SMOOTH_RELUS, TORCHS_GAINS
from bptrain.models.mlp import MLPConfig
from bptrain.nn.convert import torch_copy
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


def test_the_layers_of_an_mlp_come_in_the_usual_order() -> None:
    config = MLPConfig(hidden=[5, 5], normalization="batch", dropout=0.5, residual=True)
    names = [name for name, _ in config.build(PROBLEM, "cpu").named_children()]
    first = ["linear1", "norm1", "relu1", "dropout1"]  # 4 numbers become 5: no skip connection
    assert names == [*first, "linear2", "norm2", "relu2", "dropout2", "add2", "output"]


def test_a_residual_layer_is_added_to_what_it_reads() -> None:
    model = MLPConfig(hidden=[4], residual=True).build(PROBLEM, "cpu")
    x = torch.randn(6, 4)
    hidden = torch.relu(x @ model.linear1.weight.T + model.linear1.bias) + x
    torch.testing.assert_close(model(x), model.output(hidden))
    torch.testing.assert_close(torch_copy(model)(x), model(x))


def test_a_residual_that_no_layer_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match=r"model.residual: no layer is as wide"):
        MLPConfig(hidden=[5, 3], residual=True).build(PROBLEM, "cpu")


@pytest.mark.parametrize(
    ("normalization", "kind"), [("batch", "BatchNorm1d"), ("layer", "LayerNorm")]
)
def test_an_mlp_normalizes_by_the_batch_or_by_the_sample(normalization: str, kind: str) -> None:
    model = MLPConfig(hidden=[5], normalization=normalization).build(PROBLEM, "cpu")
    assert type(model.norm1) is getattr(nn, kind)
    assert (model.linear1.bias is None) == (normalization == "batch")


def test_dropout_zeroes_in_training_only() -> None:
    model = MLPConfig(hidden=[64], dropout=0.5).build(PROBLEM, "cpu")
    x = torch.randn(4, 4)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_every_layer_is_ours() -> None:
    for activation in get_args(Activation):
        model = MLPConfig(activation=activation).build(problem((4,), 2), "cpu")
        assert all(type(m).__module__.startswith("bptrain") for m in model.modules())


@pytest.mark.parametrize("loss", [CrossEntropyConfig(label_smoothing=0.1), MSEConfig()])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_node_between_the_loss_and_the_weights_is_ours(
    activation: str, loss: CrossEntropyConfig
) -> None:
    model = MLPConfig(hidden=[5, 4], activation=activation).build(problem((1, 2, 2), 3), "cpu")
    outputs = loss.build(PROBLEM)(model(torch.randn(6, 1, 2, 2)), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert foreign_nodes([outputs]) == set()


@pytest.mark.parametrize(
    ("init", "activation", "std"),
    [
        ("kaiming", "relu", (2 / 400) ** 0.5),
        ("kaiming", "tanh", 5 / 3 / 400**0.5),
        ("xavier", "relu", (2 * 2 / 1000) ** 0.5),
        ("xavier", "sigmoid", (2 / 1000) ** 0.5),
        ("default", "relu", 1 / (3 * 400) ** 0.5),
        ("kaiming_uniform", "relu", (2 / 400) ** 0.5),
        ("xavier_normal", "tanh", 5 / 3 * (2 / 1000) ** 0.5),
        ("lecun_normal", "selu", (1 / 400) ** 0.5),
        ("orthogonal", "relu", (2 / 600) ** 0.5),
    ],
)
def test_initial_weights_have_the_documented_std(init: str, activation: str, std: float) -> None:
    torch.manual_seed(0)
    config = MLPConfig(hidden=[600], activation=activation, init=init)
    model = config.build(problem((400,), 2), "cpu")
    assert model.linear1.weight.std().item() == pytest.approx(std, rel=0.02)
    assert (model.linear1.bias == 0).all() == (init != "default")


@pytest.mark.parametrize("activation", sorted({*get_args(Activation)} - TORCHS_GAINS))
def test_a_gain_preserves_the_signal_through_ten_layers(activation: str) -> None:
    torch.manual_seed(0)
    config = MLPConfig(hidden=[256] * 10, activation=activation, init="kaiming")
    model = config.build(problem((256,), 256), "cpu")
    # of the smooth kin of relu, a large signal: a small one they halve, whatever the gain
    size = 100 if activation in SMOOTH_RELUS else 1
    outputs = model(size * torch.randn(64, 256))
    assert 0.25 < outputs.square().mean().sqrt().item() / size < 4


def test_orthogonal_weights_are_the_gain_times_an_orthogonal_matrix() -> None:
    model = MLPConfig(hidden=[8], init="orthogonal").build(problem((8,), 2), "cpu")
    product = model.linear1.weight @ model.linear1.weight.T
    torch.testing.assert_close(product, 2 * torch.eye(8), atol=1e-5, rtol=0)


def test_equal_seeds_draw_equal_weights_and_meta_draws_nothing() -> None:
    config = MLPConfig(hidden=[8], init="orthogonal")
    torch.manual_seed(3)
    first = config.build(PROBLEM, "cpu").state_dict()
    torch.manual_seed(3)
    second = config.build(PROBLEM, "cpu").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert config.build(PROBLEM, "meta").linear1.weight.is_meta


def test_the_summary_counts_what_a_real_forward_pass_saves() -> None:
    config = MLPConfig(hidden=[6, 5])
    rows = summarize(config.build(PROBLEM, "meta"), PROBLEM, batch_size=8)
    assert [(row.name, row.output_shape, row.parameters) for row in rows] == [
        ("linear1", (8, 6), 30),
        ("relu1", (8, 6), 0),
        ("linear2", (8, 5), 35),
        ("relu2", (8, 5), 0),
        ("output", (8, 3), 18),
    ]
    # linear1 saves the batch; each ReLU's output is the next layer's input, counted once
    assert [row.saved_bytes for row in rows] == [8 * 4 * 4, 8 * 6 * 4, 0, 8 * 5 * 4, 0]

    model, saved = config.build(problem((4,), 3), "cpu"), {}
    parameters = {p.data_ptr() for p in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in parameters:
            saved[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.randn(8, 4))
    assert sum(t.nbytes for t in saved.values()) == sum(row.saved_bytes for row in rows)


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
