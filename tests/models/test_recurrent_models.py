"""Recurrent networks: every task, different lengths, carried state, and initial weights."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from graphs import foreign_nodes
from torch import Tensor

from bptrain import nn
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.losses.ctc import CTCConfig
from bptrain.models import summarize
from bptrain.models.packing import Packing, max_over_time, mean_over_time
from bptrain.models.rnn import RNNConfig
from bptrain.problem import Problem
from bptrain.verify import check
from bptrain.verify.finite_differences import Sampling

LENGTHS = torch.tensor([2, 5, 3])
NUMBERS = Problem("classification", (5, 3), 4, is_sequence=True)
TOKENS = Problem("classification", (5,), 4, 7, is_sequence=True)
IMAGES = Problem("classification", (2, 5, 3), 4)
TAGS = replace(NUMBERS, task="tagging")
SPEECH = replace(NUMBERS, task="transcription", varies=True)
TEXT = Problem("language_model", (5,), 7, 7, is_sequence=True)
CELLS = ("rnn", "lstm", "gru")
# of each tensor one element, and all together along a random direction, which shows any error
FEW = Sampling(elements=1, directions=1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def inputs_of(problem: Problem, samples: int = 3) -> Tensor:
    if problem.vocabulary:
        return torch.randint(1, problem.vocabulary, (samples, *problem.input_shape))
    return torch.randn(samples, *problem.input_shape)


def built(problem: Problem, **options: Any) -> torch.nn.Module:
    return RNNConfig(**{"hidden": 4, **options}).build(problem, "cpu")


def every_model() -> Iterator[Any]:
    for cell, bidirectional in product(CELLS, (False, True)):
        common = {"cell": cell, "bidirectional": bidirectional, "layers": 2}
        for problem, pool in product((NUMBERS, TOKENS), ("last", "mean", "max")):
            yield pytest.param(problem, {**common, "pool": pool, "embedding": 3})
        yield pytest.param(TAGS, common)


MODELS = list(every_model())


@pytest.mark.parametrize(("problem", "options"), MODELS)
def test_a_sequence_has_the_same_outputs_whatever_padding_follows_it(
    problem: Problem, options: dict[str, Any]
) -> None:
    model = built(replace(problem, varies=True), **options)
    inputs = inputs_of(problem)
    padded = model(inputs, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(inputs[row : row + 1, :length])[0]
        together = padded[row] if problem is not TAGS else padded[row, :length]
        torch.testing.assert_close(together, alone)
    assert problem is not TAGS or (padded[0, 2:] == 0).all()


@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize(("problem", "options"), MODELS)
def test_every_node_between_the_outputs_and_the_inputs_is_ours(
    problem: Problem, options: dict[str, Any], varies: bool
) -> None:
    model = built(problem, **options)
    inputs = inputs_of(problem)
    if not problem.vocabulary:
        inputs.requires_grad_()
    assert foreign_nodes([model(inputs, LENGTHS) if varies else model(inputs)]) == set()


@pytest.mark.parametrize(
    ("problem", "options", "inputs"),
    [
        (replace(TOKENS, varies=True), {"bidirectional": True, "pool": "max"}, (LENGTHS,)),
        (replace(NUMBERS, varies=True), {"bidirectional": True, "pool": "mean"}, (LENGTHS,)),
        (replace(TAGS, varies=True), {"cell": "gru", "embedding": 2}, (LENGTHS,)),
        (IMAGES, {"cell": "rnn"}, ()),
        (TEXT, {"tied": True, "layers": 2, "dropout": 0.2}, (True,)),
    ],
)
def test_check_accepts_the_gradients(
    problem: Problem, options: dict[str, Any], inputs: tuple[Any, ...]
) -> None:
    model = built(problem, hidden=3, **options)
    report = check(model, (inputs_of(problem), *inputs), sampling=FEW)
    assert report.ok, report.summary


def test_an_image_is_read_row_by_row() -> None:
    model, images = built(IMAGES), inputs_of(IMAGES)
    assert model.lstm.input_size == 2 * 3
    rows = torch.stack([images[:, :, row].flatten(1) for row in range(5)], 1)
    _, (h, _) = model.lstm(rows)
    torch.testing.assert_close(model(images), model.output(h[-1]))


def test_a_sequence_of_single_numbers_needs_no_axis_for_them() -> None:
    problem = Problem("regression", (5,), 1, is_sequence=True)
    inputs = torch.randn(3, 5)
    model = built(problem)
    assert model(inputs).equal(model(inputs.unsqueeze(2)))


def test_speech_has_an_output_at_every_step_and_its_loss_reaches_the_weights() -> None:
    model, inputs = built(SPEECH), inputs_of(SPEECH)
    texts, text_lengths = torch.tensor([[1, 0], [2, 3], [1, 0]]), torch.tensor([1, 2, 1])
    outputs = model(inputs, LENGTHS)
    loss = CTCConfig().build(SPEECH)(outputs, texts, LENGTHS, text_lengths)
    loss.backward()
    assert outputs.shape == (3, 5, 4)
    assert all(each.grad.abs().sum() > 0 for each in model.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_consecutive_windows_equal_one_long_text(cell: str) -> None:
    model, tokens = built(TEXT, cell=cell, layers=2), inputs_of(TEXT)
    whole = model(tokens)
    parts = [model(tokens[:, :2], True), model(tokens[:, 2:3], False), model(tokens[:, 3:], False)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(model(tokens[:, :2], True), whole[:, :2])


def test_no_gradient_flows_into_the_window_before() -> None:
    model, tokens = built(TEXT), inputs_of(TEXT)
    model(tokens, True)
    (h, c) = model.carried[True]
    assert not h.requires_grad
    assert not c.requires_grad
    model(tokens, False).sum().backward()  # a second time through the first graph would raise
    model(tokens, False).sum().backward()


def test_the_state_of_training_survives_an_evaluation_in_between() -> None:
    model, tokens = built(TEXT), inputs_of(TEXT)
    model(tokens, True)
    expected = built_alike(model)(tokens, False)
    model.eval()
    model(inputs_of(TEXT, 2), True)
    model(inputs_of(TEXT, 2), False)
    model.train()
    torch.testing.assert_close(model(tokens, False), expected)


def built_alike(model: torch.nn.Module) -> torch.nn.Module:
    """Return a model with the same weights and the same state of training."""
    other = built(TEXT)
    other.load_state_dict(model.state_dict())
    other.carried = dict(model.carried)
    return other


def test_the_carried_state_is_not_in_the_state_dict() -> None:
    model = built(TEXT)
    names = set(model.state_dict())
    model(inputs_of(TEXT))
    assert set(model.state_dict()) == names


def test_tied_weights_are_one_parameter_with_the_gradients_of_both_layers() -> None:
    model, tokens = built(TEXT, tied=True), inputs_of(TEXT)
    assert model.output.weight is model.embedding.weight
    assert len(list(model.parameters())) == len(list(built(TEXT).parameters())) - 1
    outputs = model(tokens)
    assert foreign_nodes([outputs]) == set()
    outputs.square().sum().backward()
    embedded = torch.nn.functional.embedding(tokens, model.embedding.weight)
    read = model.lstm(embedded)[0]
    by_hand = torch.nn.functional.linear(read, model.embedding.weight, model.output.bias)
    (grad,) = torch.autograd.grad(by_hand.square().sum(), model.embedding.weight)
    torch.testing.assert_close(model.embedding.weight.grad, grad)


def test_padding_is_a_row_that_stays_zero() -> None:
    assert built(replace(TOKENS, varies=True)).embedding.padding_idx == 0
    assert built(TOKENS).embedding.padding_idx is None


def test_dropout_is_applied_between_layers_and_before_the_output() -> None:
    one, two = built(NUMBERS, dropout=0.5), built(NUMBERS, dropout=0.5, layers=2)
    assert (one.lstm.dropout, two.lstm.dropout) == (0.0, 0.5)
    assert isinstance(one.dropout, nn.Dropout)
    inputs = inputs_of(NUMBERS)
    assert not one(inputs).equal(one(inputs))
    one.eval()
    assert one(inputs).equal(one(inputs))
    assert built(NUMBERS).dropout is None


@pytest.mark.parametrize(
    ("problem", "samples"),
    [(NUMBERS, 3), (replace(TOKENS, varies=True), 3), (IMAGES, 3), (TAGS, 3), (TEXT, 3)],
)
def test_the_summary_counts_what_a_real_forward_pass_saves(problem: Problem, samples: int) -> None:
    config = RNNConfig(hidden=4, layers=2, dropout=0.2)
    rows = summarize(config.build(problem, "meta"), problem, samples)
    assert [row.name for row in rows if row.parameters] == [
        *(["embedding"] if problem.vocabulary else []),
        "lstm",
        "output",
    ]
    model = config.build(problem, "cpu")
    own, saved = {each.data_ptr() for each in model.parameters()}, {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    lengths = [torch.full((samples,), 5)] if problem.varies else []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(inputs_of(problem, samples), *lengths)
    assert sum(row.saved_bytes for row in rows) == sum(each.nbytes() for each in saved.values())


def test_a_model_of_terabytes_is_summarized_without_memory() -> None:
    config = RNNConfig(hidden=65_536, layers=9, init="orthogonal")
    rows = summarize(config.build(NUMBERS, "meta"), NUMBERS, 64)
    assert sum(row.parameters for row in rows) > 10**11


@pytest.mark.parametrize("cell", CELLS)
def test_orthogonal_weights_preserve_the_norm_of_the_state(cell: str) -> None:
    model = built(NUMBERS, cell=cell, hidden=6, layers=2, bidirectional=True, init="orthogonal")
    layer = model.get_submodule(cell)
    for name, parameter in layer.named_parameters():
        for gate in parameter.chunk(layer.gates):
            if name.startswith("weight_hh"):
                torch.testing.assert_close(gate @ gate.T, torch.eye(6))
            if name.startswith("weight_ih"):
                assert gate.abs().max() <= (6 / sum(gate.shape)) ** 0.5
    assert (model.output.bias == 0).all()


@pytest.mark.parametrize(
    ("options", "bias"),
    [({"init": "orthogonal"}, 1.0), ({"forget_bias": 2.5}, 2.5), ({"forget_bias": 0.0}, 0.0)],
)
def test_an_lstm_starts_with_its_forget_bias(options: dict[str, Any], bias: float) -> None:
    layer = built(NUMBERS, layers=2, bidirectional=True, **options).lstm
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        both = getattr(layer, f"bias_ih_{suffix}") + getattr(layer, f"bias_hh_{suffix}")
        assert (both.chunk(4)[1] == bias).all()
        others = torch.cat(both.chunk(4)[::2])
        assert (others == 0).all() == (options.get("init") == "orthogonal")


def test_the_default_is_torchs_initialization() -> None:
    torch.manual_seed(3)
    ours = built(NUMBERS).lstm
    torch.manual_seed(3)
    theirs = torch.nn.LSTM(3, 4)
    for name, parameter in theirs.named_parameters():
        assert getattr(ours, name).equal(parameter)


def test_a_forget_bias_needs_an_lstm() -> None:
    with pytest.raises(ValueError, match="forget_bias needs cell lstm, but cell is gru"):
        RNNConfig(cell="gru", forget_bias=1.0)


@pytest.mark.parametrize(
    ("problem", "options", "said"),
    [
        (TAGS, {"pool": "mean"}, "model.pool: a tagging problem has an output at every step"),
        (TEXT, {"bidirectional": True}, "model.bidirectional: a language model cannot"),
        (TOKENS, {"tied": True}, "model.tied: the outputs of a classification problem"),
        (TEXT, {"tied": True, "embedding": 3}, "model.tied: the embedding has size 3"),
    ],
)
def test_an_option_that_does_not_apply_to_the_problem_is_refused(
    problem: Problem, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigKeyError, match=said):
        built(problem, **options)


@pytest.mark.parametrize(
    "problem",
    [
        Problem("regression", (4,), 1),
        Problem("classification", (4, 4), 2),
        Problem("classification", (5, 4, 4), 2, is_sequence=True),
    ],
)
def test_samples_without_steps_are_refused(problem: Problem) -> None:
    with pytest.raises(UsageError, match="an rnn cannot read samples of the shape"):
        built(problem)


@pytest.mark.parametrize("lengths", [[0, 5, 3], [2, 6, 3]])
def test_invalid_lengths_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="expected 1 to 5"):
        built(NUMBERS)(inputs_of(NUMBERS), torch.tensor(lengths))


def test_unpacking_restores_each_position() -> None:
    packing = Packing(LENGTHS, 5, torch.device("cpu"))
    padded = torch.randn(3, 5, 2, dtype=torch.float64)
    theirs = torch.nn.utils.rnn.pack_padded_sequence(
        padded, LENGTHS, batch_first=True, enforce_sorted=False
    )
    ours = packing.as_sequence(packing.pack(padded))
    for one, other in zip(ours, theirs, strict=True):
        assert one.equal(other)
    back = packing.unpack(ours.data, padding=9.0)
    assert back[packing.valid].equal(padded[packing.valid])
    assert (back[~packing.valid] == 9).all()
    assert packing.valid.sum(1).equal(LENGTHS)


def test_features_are_pooled_over_the_valid_steps_only() -> None:
    packing = Packing(LENGTHS, 5, torch.device("cpu"))
    steps = torch.randn(3, 5, 2) - 5  # below the zeros of padding
    rows = packing.pack(steps)
    mean = mean_over_time(packing.unpack(rows), packing.valid)
    largest = max_over_time(packing.unpack(rows, -torch.inf))
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(mean[row], steps[row, :length].mean(0))
        assert largest[row].equal(steps[row, :length].amax(0))
