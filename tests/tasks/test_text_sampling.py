"""Text from a language model: one token after another, the state carried, random by the seed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bptrain.data.text.text_config import TextConfig
from bptrain.errors import DataError, NonFiniteError, StorageError, UsageError
from bptrain.tasks.text_generation import draw_token, generate
from bptrain.tasks.text_sampling import SamplingOptions, continue_texts, write_sample

SYMBOLS = ["?", "\n", "a", "b", "c"]


class Adding(nn.Module):
    """The next token is the sum, modulo V, of all tokens since the start.

    The sum is its state, carried from call to call and reset at a start. `confidence` is how much
    larger the right logit is.
    """

    def __init__(self, vocabulary: int = 5, confidence: float = 50.0) -> None:
        super().__init__()
        self.confidence = nn.Parameter(torch.tensor(confidence))
        self.vocabulary = vocabulary
        self.calls: list[tuple[int, bool, bool]] = []
        self.sum: Tensor | None = None

    def forward(self, tokens: Tensor, starts: bool = True) -> Tensor:
        self.calls.append((tokens.shape[1], starts, self.training))
        before = 0 if starts else self.sum[:, None]
        sums = tokens.cumsum(1) + before
        self.sum = sums[:, -1]
        return self.confidence * nn.functional.one_hot(sums % self.vocabulary, self.vocabulary)


def prompt(*tokens: int) -> Tensor:
    return torch.tensor([tokens])


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1e-300])
def test_each_token_follows_from_all_before_it(temperature: float) -> None:
    model = Adding()
    written = generate(model, prompt(1, 2), 5, temperature)
    assert written.tolist() == [[3, 1, 2, 4, 3]]
    assert (written.shape, written.dtype) == ((1, 5), torch.int64)


def test_the_prompt_is_read_at_once_and_then_a_token_a_call() -> None:
    model = Adding()
    generate(model, prompt(1, 2, 3), 3)
    assert model.calls == [(3, True, False), (1, False, False), (1, False, False)]


def test_prompts_side_by_side_are_continued_each_by_itself() -> None:
    both = generate(Adding(), torch.tensor([[1, 2], [3, 3]]), 4, 0.0)
    alone = [generate(Adding(), prompt(*pair), 4, 0.0) for pair in ((1, 2), (3, 3))]
    assert both.equal(torch.cat(alone))


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_left_and_no_gradient_is_kept(training: bool) -> None:
    model = Adding().train(training)
    assert not generate(model, prompt(1), 2).requires_grad
    assert model.training is training


def test_no_tokens_are_written_where_none_are_asked_for() -> None:
    assert generate(Adding(), prompt(1, 2), 0).shape == (1, 0)


def test_what_is_drawn_is_a_function_of_the_generator_alone() -> None:
    def written(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return generate(Adding(confidence=0.0), prompt(1), 30, 1.0, generator)[0].tolist()

    first = written(1)
    torch.manual_seed(99)
    assert written(1) == first
    assert written(2) != first


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_their_probability_says(temperature: float) -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, -torch.inf]], dtype=torch.float64)
    chances = (torch.arange(10_000, dtype=torch.float64) / 10_000).view(-1, 1)
    tokens = draw_token(logits.expand(10_000, -1), chances, temperature).view(-1)
    expected = (logits[0] / temperature).softmax(0)
    assert tokens.bincount(minlength=4).div(10_000).tolist() == pytest.approx(expected, abs=2e-4)


def test_a_token_without_probability_is_never_draw_token() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]], dtype=torch.float64)
    for chance in (0.0, 0.5, 1 - 2**-53):
        assert draw_token(logits, torch.tensor([[chance]], dtype=torch.float64), 1.0).item() == 1


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        generate(Adding(), prompt(1), 1, temperature)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_model_whose_outputs_are_no_numbers_is_refused(broken: float) -> None:
    with pytest.raises(NonFiniteError, match="not finite"):
        generate(Adding(confidence=broken), prompt(1), 3)


CONFIG = TextConfig(path="unused")
PREPARED = {"symbols": SYMBOLS}


def test_prompts_of_different_lengths_are_continued_as_if_alone(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("\nab")
    options = SamplingOptions(length=4, temperature=0.0)
    texts = continue_texts(CONFIG, Adding(), ["\na", str(file), "\na"], PREPARED, options)
    assert texts == ["b\nac", "\nacb", "b\nac"]


def test_bytes_are_continued_to_text() -> None:
    data = TextConfig(path="unused", unit="byte")
    text = continue_texts(data, Adding(256), ["A"], {}, SamplingOptions(length=3, temperature=0.0))
    assert text == ["A\N{REPLACEMENT CHARACTER}\x04"]  # bytes 65, 130, 260 % 256


def test_an_empty_prompt_is_refused_before_anything_is_written() -> None:
    model = Adding()
    with pytest.raises(DataError, match="an empty text"):
        continue_texts(CONFIG, model, ["a", ""], PREPARED, SamplingOptions())
    assert model.calls == []


def test_a_runs_sample_begins_after_a_line_and_is_a_function_of_the_seed(tmp_path: Path) -> None:
    def sample(seed: int) -> str:
        return write_sample(tmp_path, CONFIG, Adding(confidence=1.0), PREPARED, seed)

    text = sample(1)
    assert (tmp_path / "sample.txt").read_text() == text
    assert len(text) == 1000
    assert sample(1) == text
    assert sample(2) != text


@pytest.mark.parametrize(("symbols", "opening"), [(SYMBOLS, 1), (["?", "x", "\n"], 2)])
def test_a_sample_begins_where_a_line_does(
    tmp_path: Path, symbols: list[str], opening: int
) -> None:
    model = Adding(len(symbols))
    text = write_sample(tmp_path, CONFIG, model, {"symbols": symbols}, 0)
    assert text[0] == symbols[opening]  # the sum of the first token alone


def test_a_text_without_lines_is_no_name_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").write_text("a file with the name of the opening")
    model = Adding(3)
    write_sample(tmp_path, CONFIG, model, {"symbols": ["?", "x", "y"]}, 0)
    assert model.calls[0] == (1, True, False)


def test_a_sample_that_cannot_be_stored_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_sample(tmp_path / "missing", CONFIG, Adding(), PREPARED, 0)
