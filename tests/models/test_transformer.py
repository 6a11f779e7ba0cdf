"""Transformers: every task, different lengths, positions, and texts that continue."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from graphs import foreign_nodes
from torch import Tensor, nn

from bptrain.errors import DataError, UsageError
from bptrain.losses.cross_entropy import CrossEntropyConfig
from bptrain.models.transformer import TransformerConfig
from bptrain.nn.convert import torch_copy
from bptrain.ops.kernels import Kernels, use_kernels
from bptrain.problem import Problem
from bptrain.tape import Step
from bptrain.tasks.text_generation import draw_token, generate
from bptrain.verify import check
from bptrain.verify.finite_differences import Sampling

LENGTHS = torch.tensor([2, 5, 3])
NUMBERS = Problem("classification", (5, 3), 4, is_sequence=True, varies=True)
TOKENS = Problem("classification", (5,), 4, 7, is_sequence=True, varies=True)
TAGS = replace(TOKENS, task="tagging")
IMAGES = Problem("classification", (2, 4, 6), 4)
TEXT = Problem("language_model", (6,), 7, 7, is_sequence=True)
POSITIONS = ("learned", "rotary", "sinusoidal")
# of each tensor one element, and all together along a random direction, which shows any error
FEW = Sampling(elements=1, directions=1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def inputs_of(problem: Problem, samples: int = 3) -> Tensor:
    if problem.vocabulary:
        return torch.randint(1, problem.vocabulary, (samples, *problem.input_shape))
    return torch.randn(samples, *problem.input_shape)


def built(problem: Problem, **options: Any) -> nn.Module:
    """Return a small model whose queries and keys are large: attention is far from a mean."""
    sizes = {"width": 8, "heads": 2, "depth": 2}
    model = TransformerConfig(**{**sizes, **options}).build(problem, "cpu")
    with torch.no_grad():
        for name, each in model.named_parameters():
            if name.endswith("qkv.weight"):
                each.mul_(2)
    return model


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("problem", [NUMBERS, TOKENS, TAGS])
def test_a_sequence_has_the_same_outputs_whatever_padding_follows_it(
    problem: Problem, positions: str
) -> None:
    model, inputs = built(problem, positions=positions), inputs_of(problem)
    padded = model(inputs, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(inputs[row : row + 1, :length])[0]
        together = padded[row] if problem is not TAGS else padded[row, :length]
        torch.testing.assert_close(together, alone)
    assert problem is not TAGS or (padded[0, 2:] == 0).all()


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("problem", [NUMBERS, TOKENS, TAGS, IMAGES, TEXT])
def test_every_node_between_the_outputs_and_the_inputs_is_ours(
    problem: Problem, positions: str
) -> None:
    options = {"positions": positions, "dropout": 0.1} | ({"patch": 2} if problem is IMAGES else {})
    model, inputs = built(problem, **options), inputs_of(problem)
    assert foreign_nodes([model(inputs)]) == set()
    if problem.varies:
        assert foreign_nodes([model(inputs, LENGTHS)]) == set()


@pytest.mark.parametrize(
    ("problem", "options", "inputs"),
    [
        (TAGS, {"positions": "sinusoidal", "activation": "relu"}, (LENGTHS,)),
        (TEXT, {"tied": True, "positions": "rotary"}, (True,)),
    ],
)
def test_check_accepts_the_gradients(
    problem: Problem, options: dict[str, Any], inputs: tuple[Any, ...]
) -> None:
    model = built(problem, width=4, depth=1, mlp_ratio=1, **options)
    report = check(model, (inputs_of(problem), *inputs), sampling=FEW)
    assert report.ok, report.summary


@pytest.mark.parametrize("kernels", ["fused", "formula"])
@pytest.mark.parametrize(("problem", "rest"), [(TAGS, (LENGTHS,)), (IMAGES, ()), (TEXT, (True,))])
def test_the_torch_counterpart_has_the_same_outputs_and_gradients(
    problem: Problem, rest: tuple[Any, ...], kernels: Kernels
) -> None:
    options = {"patch": 2} if problem is IMAGES else {}
    model = built(problem, **options)
    theirs, inputs = torch_copy(model), inputs_of(problem)
    with use_kernels(kernels):
        found, expected = model(inputs, *rest), theirs(inputs, *rest)
        torch.testing.assert_close(found, expected)
        grad = torch.randn_like(found)
        found.backward(grad)
        expected.backward(grad)
    for (name, own), other in zip(model.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, msg=name)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("problem", "rest"), [(TAGS, (LENGTHS,)), (IMAGES, ()), (TEXT, (True,))])
def test_a_step_runs_on_the_tape(
    problem: Problem, rest: tuple[Any, ...], precision: torch.dtype
) -> None:
    options = {"patch": 2} if problem is IMAGES else {}
    model, inputs = built(problem, **options), inputs_of(problem)
    targets = torch.zeros(3, dtype=torch.int64) if problem is IMAGES else inputs % 4
    step = Step(model, CrossEntropyConfig().build(problem))
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        step((inputs, *rest), targets)
        step((inputs, *rest), targets)
    assert step.reasons == []


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_order_of_the_steps_counts(positions: str) -> None:
    model, tokens = built(TOKENS, positions=positions), torch.tensor([[1, 2, 3, 4, 5]])
    assert not torch.allclose(model(tokens), model(tokens.flip(1)), atol=1e-4)


def test_an_image_is_read_as_patches_row_by_row() -> None:
    model, images = built(IMAGES, patch=2), inputs_of(IMAGES)
    embedded = model.embed(images)
    assert embedded.shape == (3, 6, 8)
    last = model.patches(images[:, :, 2:, 4:]).flatten(1)
    torch.testing.assert_close(embedded[:, 5], last)
    torch.testing.assert_close(embedded[:, 2], model.patches(images[:, :, :2, 4:]).flatten(1))


def test_a_series_of_single_numbers_needs_no_axis_for_them() -> None:
    problem = Problem("regression", (5,), 1, is_sequence=True)
    inputs, model = torch.randn(3, 5), built(problem)
    assert model(inputs).equal(model(inputs.unsqueeze(2)))


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_prediction_reads_no_token_after_its_own(positions: str) -> None:
    model, tokens = built(TEXT, positions=positions), inputs_of(TEXT)
    other = tokens.clone()
    other[:, 4:] = (other[:, 4:] + 1) % 7
    before, after = model(tokens), model(other)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_a_window_of_training_begins_a_text_whatever_was_read_before() -> None:
    model, tokens = built(TEXT), inputs_of(TEXT)
    expected = model(tokens, True)
    model.eval()
    model(inputs_of(TEXT, 2), True)
    model.train()
    assert model(tokens, False).equal(expected)


@pytest.mark.parametrize("positions", POSITIONS)
def test_pieces_of_a_text_equal_the_whole(positions: str) -> None:
    model, tokens = built(TEXT, positions=positions).eval(), inputs_of(TEXT)
    whole = model(tokens)
    parts = [model(tokens[:, :2], True), model(tokens[:, 2:3], False), model(tokens[:, 3:], False)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(model(tokens[:, :2], True), whole[:, :2])


def in_view(read: int, context: int) -> int:
    """Return how many tokens the prediction after `read` tokens is made from."""
    half = context // 2
    return read if read <= context else half + 1 + (read - context - 1) % (context - half)


def without_a_cache(model: nn.Module, tokens: Tensor, context: int) -> Tensor:
    """Return the logits of a text of any length, each from the tokens in its view, all read."""
    logits = []
    for read in range(1, tokens.shape[1] + 1):
        first = read - in_view(read, context)
        logits.append(model(tokens[:, first:read], True)[:, -1:])
    return torch.cat(logits, 1)


@pytest.mark.parametrize("context", [1, 5, 6])
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_text_longer_than_the_context_is_predicted_from_its_last_tokens(
    positions: str, context: int
) -> None:
    problem = replace(TEXT, input_shape=(context,))
    model = built(problem, positions=positions).eval()
    tokens = torch.randint(7, (2, 20))
    expected = without_a_cache(model, tokens, context)
    torch.testing.assert_close(model(tokens, True), expected)
    pieces = tokens.split([1, 7, 1, 1, 10], 1)
    found = [model(piece, number == 0) for number, piece in enumerate(pieces)]
    torch.testing.assert_close(torch.cat(found, 1), expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("positions", POSITIONS)
def test_text_is_the_same_with_and_without_kept_keys_and_values(
    positions: str, temperature: float
) -> None:
    model, prompt = built(TEXT, positions=positions).double(), torch.tensor([[1, 2, 3]])
    found = generate(model, prompt, 30, temperature, torch.Generator().manual_seed(0))
    chances = torch.rand(30, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model.eval()
    text = prompt
    for chance in chances:
        view = text[:, text.shape[1] - in_view(text.shape[1], 6) :]
        token = draw_token(model(view, True)[:, -1].double(), chance, temperature)
        text = torch.cat([text, token], 1)
    assert found.equal(text[:, 3:])


def test_learned_positions_end_where_those_of_training_did() -> None:
    tokens = torch.ones(1, 9, dtype=torch.int64)
    with pytest.raises(DataError, match=r"9 steps: the model has positions of 5"):
        built(TOKENS, positions="learned")(tokens)
    for positions in ("rotary", "sinusoidal"):
        assert built(TOKENS, positions=positions)(tokens).shape == (1, 4)


def test_a_window_longer_than_the_context_is_refused_in_training() -> None:
    with pytest.raises(DataError, match="7 steps: the model has positions of 6"):
        built(TEXT)(torch.ones(1, 7, dtype=torch.int64))


def test_tied_weights_are_one_parameter() -> None:
    model = built(TEXT, tied=True)
    assert model.output.weight is model.embedding.weight
    assert len(list(model.parameters())) == len(list(built(TEXT).parameters())) - 1


def test_what_a_block_adds_starts_smaller_the_more_blocks_there_are() -> None:
    model = TransformerConfig(width=256, depth=8).build(TOKENS, "cpu")
    block = model.block3
    assert block.linear1.weight.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert model.embedding.weight[1:].std().item() == pytest.approx(1 / 16, rel=0.1)
    for adds in (block.linear2, block.attention.output):
        std = adds.weight[0].numel() ** -0.5 / 4
        assert adds.weight.std().item() == pytest.approx(std, rel=0.02)
    assert (block.linear1.bias == 0).all()
    assert (model.embedding.weight[0] == 0).all()
    assert model.embedding.padding_idx == 0


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        (TOKENS, {"width": 9, "heads": 2}, r"model.heads: 2 heads cannot share a width of 9"),
        (TOKENS, {"width": 6, "heads": 2}, r"model.positions: rotary needs pairs .* 3 is odd"),
        (TOKENS, {"patch": 2}, r"model.patch: only images"),
        (TOKENS, {"tied": True}, r"model.tied: the outputs of a classification problem"),
        (IMAGES, {"patch": 3}, r"model.patch: patches of 3 x 3 do not divide images of 4 x 6"),
        (Problem("classification", (5,), 2), {}, r"cannot read samples of the shape \[5\]"),
    ],
)
def test_what_does_not_fit_is_refused(
    problem: Problem, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        TransformerConfig(**options).build(problem, "cpu")
