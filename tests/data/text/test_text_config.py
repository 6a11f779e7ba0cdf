"""Texts as streams: every token in its place, every epoch a pure function of the seed."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from bptrain.data.batches import Batch
from bptrain.data.text.text_config import TextConfig
from bptrain.data.text.text_stream import TextStream
from bptrain.data.text.vocabulary import UNKNOWN, ByteVocabulary, CharacterVocabulary
from bptrain.errors import DataError


def stream(length: int, window: int = 4) -> TextStream:
    """Return a text whose tokens are their own places."""
    return TextStream(torch.arange(length, dtype=torch.int32), window, "a text", "character")


def written(folder: Path, text: str, name: str = "text.txt") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def starts(batches: list[Batch]) -> list[bool]:
    return [batch.inputs[1] for batch in batches]


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize(
    ("length", "streams", "window"), [(50, 3, 4), (13, 3, 4), (100, 1, 7), (9, 8, 1)]
)
def test_a_target_is_the_token_that_follows_in_the_text(
    seed: int | None, length: int, streams: int, window: int
) -> None:
    for batch in stream(length).serve(streams, seed, window).epoch(2):
        (inputs, _), (targets,), weight, _ = batch
        assert targets.equal(inputs + 1)
        assert inputs.dtype == targets.dtype == torch.int64
        assert weight == targets.numel()


@pytest.mark.parametrize("seed", [None, 3])
def test_a_stream_continues_where_its_last_window_ended(seed: int | None) -> None:
    batches = list(stream(103).serve(4, seed).epoch(1))
    assert len(batches) == len(stream(103).serve(4, seed))
    for one, following in pairwise(batches):
        assert following.inputs[0][:, 0].equal(one.targets[0][:, -1])


@pytest.mark.parametrize("seed", [None, 3])
def test_streams_start_at_the_first_window_of_an_epoch_alone(seed: int | None) -> None:
    flags = starts(list(stream(103).serve(4, seed).epoch(0)))
    assert flags == [True] + [False] * (len(flags) - 1)
    assert all(type(flag) is bool for flag in flags)


@pytest.mark.parametrize(("length", "streams"), [(50, 3), (14, 3), (41, 8), (2, 64), (30, 64)])
def test_evaluation_reads_the_text_once_from_its_start_to_its_end(
    length: int, streams: int
) -> None:
    batches = list(stream(length).serve(streams).epoch(0))
    predicted = torch.cat([batch.targets[0].flatten() for batch in batches]).tolist()
    assert predicted == list(range(1, length))
    assert {len(batch.targets[0]) for batch in batches} == {1}
    assert len(batches) == len(stream(length).serve(streams))


def test_training_predicts_no_token_twice_in_whole_windows() -> None:
    for epoch in range(20):
        batches = list(stream(103).serve(4, 7).epoch(epoch))
        assert {tuple(batch.targets[0].shape) for batch in batches} == {(4, 4)}
        predicted = torch.cat([batch.targets[0].flatten() for batch in batches])
        assert predicted.unique().numel() == predicted.numel() >= 103 - 4 * 4 - 4


def firsts(batches: object, epochs: int) -> list[int]:
    return [int(next(batches.epoch(epoch)).inputs[0][0, 0]) for epoch in range(epochs)]  # type: ignore[attr-defined]


def test_the_place_of_the_first_stream_is_a_pure_function_of_seed_and_epoch() -> None:
    first = firsts(stream(200).serve(3, 1), 30)
    torch.manual_seed(99)  # the global generator does not matter
    assert firsts(stream(200).serve(3, 1), 30) == first
    assert firsts(stream(200).serve(3, 2), 30) != first
    assert {place % 4 for place in first} == {0, 1, 2, 3}  # epochs cut the windows in every way


def test_a_text_just_long_enough_is_served_as_a_whole() -> None:
    assert firsts(stream(3 * 4 + 1).serve(3, 1), 5) == [0] * 5
    with pytest.raises(DataError, match="12 characters, 13 are needed"):
        stream(3 * 4).serve(3, 1)


def test_the_window_of_truncated_backpropagation_takes_the_place_of_the_texts_own() -> None:
    assert next(stream(100, window=4).serve(2, 0, window=9).epoch(0)).inputs[0].shape == (2, 9)


@pytest.mark.parametrize("symbols", [3, 255, 256, 300, 40_000])
def test_characters_come_back_from_their_tokens(symbols: int) -> None:
    text = "".join(map(chr, range(0x10000, 0x10000 + symbols)))
    vocabulary = CharacterVocabulary.of(text)
    tokens = vocabulary.encode(text)
    assert tokens.tolist() == list(range(1, symbols + 1))
    assert vocabulary.decode(tokens.tolist()) == text
    assert tokens.element_size() == (1 if symbols < 256 else 2 if symbols < 2**15 else 4)


def test_a_character_that_training_never_saw_is_the_reserved_symbol() -> None:
    vocabulary = CharacterVocabulary.of("abca")
    assert vocabulary.names == (UNKNOWN, "a", "b", "c")
    assert vocabulary.encode("bé\udcffa😀").tolist() == [2, 0, 0, 1, 0]
    assert CharacterVocabulary.of(f"a{UNKNOWN}").names == (UNKNOWN, "a")


def test_bytes_encode_every_text() -> None:
    assert len(ByteVocabulary.names) == 256
    assert ByteVocabulary.names[65] == "A"
    assert ByteVocabulary().encode("é").tolist() == [0xC3, 0xA9]
    assert ByteVocabulary().decode([0xC3, 0xA9, 0xC3]) == f"é{UNKNOWN}"
    assert ByteVocabulary().encode("\udcff").tolist() == [0xFF]


def test_the_parts_follow_each_other_in_the_text(tmp_path: Path) -> None:
    text = "ab" * 70 + "cb" * 20 + "db" * 10
    config = TextConfig(
        path=written(tmp_path, text), window=5, validation_fraction=0.2, test_fraction=0.1
    )
    built = config.build(0)
    assert built.train.tokens.tolist() == [1, 2] * 70
    assert built.validation.tokens.tolist() == [0, 2] * 20  # c is not in the training part
    assert built.test.tokens.tolist() == [0, 2] * 10
    assert built.prepared == {"symbols": [UNKNOWN, "a", "b"]}
    problem = built.problem
    assert (problem.task, problem.input_shape, problem.is_sequence) == (
        "language_model",
        (5,),
        True,
    )
    assert problem.outputs == problem.vocabulary == len(problem.names) == 3
    assert (len(built.train), len(built.validation), len(built.test)) == (139, 39, 19)
    assert built.bytes == 200


def test_bytes_are_counted_where_characters_are_not(tmp_path: Path) -> None:
    path = written(tmp_path, "äö" * 50)
    built = TextConfig(path=path, unit="byte", window=4).build(0)
    assert len(built.train.tokens) == 180
    assert len(built.validation.tokens) == 20
    assert built.problem.outputs == 256


def test_without_fractions_all_is_for_training(tmp_path: Path) -> None:
    built = TextConfig(path=written(tmp_path, "ab" * 20), validation_fraction=0.0).build(0)
    assert len(built.train) == 39
    assert built.validation is None
    assert built.test is None


def test_a_folders_texts_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, text in (
        ("b.txt", "second"),
        ("a.txt", "\ufefffirst "),
        ("c.md", "x"),
        (".d.txt", "y"),
    ):
        written(tmp_path, text, name)
    config = TextConfig(path=str(tmp_path), window=2, validation_fraction=0.0)
    built = config.build(0)
    text = config.vocabulary(built.prepared).decode(built.train.tokens.tolist())
    assert text == "first second"


def test_line_ends_are_not_changed(tmp_path: Path) -> None:
    built = TextConfig(path=written(tmp_path, "a\r\nb\n" * 9), validation_fraction=0).build(0)
    assert built.prepared["symbols"] == [UNKNOWN, "\n", "\r", "a", "b"]


@pytest.mark.parametrize("unit", ["character", "byte"])
def test_prompts_are_texts_or_files_in_the_vocabulary_of_training(
    tmp_path: Path, unit: str
) -> None:
    config = TextConfig(path=written(tmp_path, "hello there"), unit=unit)
    prepared = {"symbols": [UNKNOWN, *"ehlor t"]}
    prompt = written(tmp_path, "the", "prompt.txt")
    samples = config.prepare(["hello!", prompt], prepared)
    texts = [
        config.vocabulary(prepared).decode(row[:end].tolist())
        for row, end in zip(samples.inputs, samples.lengths, strict=True)
    ]
    assert texts == [f"hello{UNKNOWN if unit == 'character' else '!'}", "the"]
    assert len(samples) == 2
    assert samples.inputs.dtype == torch.int64


def test_prompts_of_one_length_need_no_lengths(tmp_path: Path) -> None:
    config = TextConfig(path="unused")
    assert config.prepare(["ab", "ba"], {"symbols": [UNKNOWN, "a", "b"]}).lengths is None


@pytest.mark.parametrize("word", ["x" * 5000, "a\0b", "no such file", ".", "~", "-1"])
def test_a_word_that_names_no_file_is_a_text(word: str, in_folder: Callable) -> None:
    samples = TextConfig(path="unused").prepare([word], {"symbols": [UNKNOWN, *sorted(set(word))]})
    assert samples.inputs.shape == (1, len(word))
    assert samples.inputs.min() > 0


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_tiny_shakespeare_has_its_known_size_and_vocabulary(bptrain_data: Path) -> None:
    built = TextConfig(path=str(bptrain_data / "tinyshakespeare.txt")).build(0)
    assert built.problem.outputs == 65 + 1
    assert len(built.train.tokens) + len(built.validation.tokens) == 1_115_394
    assert not (built.validation.tokens == 0).any()
    assert built.bytes == 1_115_394  # a byte each


@pytest.mark.parametrize("unit", ["character", "byte"])
def test_a_window_can_be_read_again_from_its_tokens(tmp_path: Path, unit: str) -> None:
    text = "f\u00fcr alle\n" * 20
    config = TextConfig(path=written(tmp_path, text), unit=unit, window=8, batch_size=2)  # type: ignore[arg-type]
    built = config.build(0)
    tokens = built.train.tokens[:9]
    assert text.startswith(config.described(tokens, built.prepared)["text"])
