"""Labeled texts: how rows are encoded, the vocabulary of training, the inputs of a prediction."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bptrain.data.splits import Dataset
from bptrain.data.text.labelled_texts import RESERVED
from bptrain.data.text.text_table_config import TextTableConfig
from bptrain.errors import DataError


def table(folder: Path, rows: Sequence[Sequence[str]], name: str = "rows.csv") -> str:
    mark = "\t" if name.endswith("tsv") else ","
    quoted = [
        [f'"{field}"' if mark in field or "\n" in field else field for field in r] for r in rows
    ]
    path = folder / name
    path.write_text("\n".join(mark.join(row) for row in quoted) + "\n", encoding="utf-8")
    return str(path)


HEADER = ("text", "label")


def of_two_classes(count: int) -> list[tuple[str, str]]:
    """Return a header and rows, each with a word of its own; a quarter is bad."""
    return [HEADER, *((f"word{i} film", "good" if i % 4 else "bad") for i in range(count))]


def only(rows: Sequence[Sequence[str]], folder: Path, **options: object) -> Dataset:
    """Return the data set of rows that are all for training."""
    path = table(folder, [HEADER, *rows])
    options = {"validation_fraction": 0.0, "test_fraction": 0.0, **options}
    return TextTableConfig(path=path, **options).build(0)  # type: ignore[arg-type]


def spelled(built: Dataset, row: int) -> list[str]:
    symbols = built.prepared["symbols"]
    end = int(built.train.lengths[row])
    assert (built.train.inputs[row, end:] == 0).all()
    return [symbols[token] for token in built.train.inputs[row, :end].tolist()]


def test_words_are_letters_in_a_row_and_marks_stand_alone(tmp_path: Path) -> None:
    rows = [("I don\u2019t  LIKE it...  été 3rd <b>", "0"), ("Don't!", "1")]
    built = only(rows, tmp_path)
    expected = ["i", "don\u2019t", "like", "it", ".", ".", ".", "été", "3rd", "<", "b", ">"]
    assert spelled(built, 0) == expected
    assert spelled(built, 1) == ["don't", "!"]


def test_capitals_are_kept_without_lower(tmp_path: Path) -> None:
    assert spelled(only([("A a", "0"), ("b", "1")], tmp_path, lower=False), 0) == ["A", "a"]


def test_characters_keep_the_spaces_between_words(tmp_path: Path) -> None:
    built = only([("  Ab c\nd ", "0"), ("b", "1")], tmp_path, unit="character")
    assert spelled(built, 0) == list("ab c\nd")


def test_longer_texts_are_cut(tmp_path: Path) -> None:
    built = only([("a b c d", "0"), ("a", "1")], tmp_path, max_length=2)
    assert spelled(built, 0) == ["a", "b"]
    assert built.train.lengths.tolist() == [2, 1]
    assert built.problem.input_shape == (2,)


def test_the_most_frequent_symbols_are_known_and_the_others_are_one(tmp_path: Path) -> None:
    built = only([("c b b a", "0"), ("c c d", "1")], tmp_path, vocabulary=4)
    assert built.prepared["symbols"] == [*RESERVED, "c", "b"]
    assert built.train.inputs.tolist() == [[2, 3, 3, 1], [2, 2, 1, 0]]
    assert built.problem.vocabulary == 4


def test_equally_frequent_symbols_are_ranked_by_name(tmp_path: Path) -> None:
    built = only([("b a c", "0"), ("c a b", "1")], tmp_path)
    assert built.prepared["symbols"] == [*RESERVED, "a", "b", "c"]


def test_symbols_and_classes_come_from_the_training_rows_only(tmp_path: Path) -> None:
    built = TextTableConfig(path=table(tmp_path, of_two_classes(80)), test_fraction=0.25).build(0)
    assert len(built.prepared["symbols"]) == len(RESERVED) + 1 + len(built.train)
    for split in (built.validation, built.test):
        assert split.inputs[:, 0].tolist() == [1] * len(split)
        assert split.inputs[:, 1].unique().tolist() == [2]  # film, the most frequent one
    assert built.prepared["classes"] == ["bad", "good"]
    problem = built.problem
    assert (problem.task, problem.outputs, problem.names) == ("classification", 2, ("bad", "good"))
    assert problem.is_sequence
    assert problem.varies


def test_splits_have_the_same_share_of_each_class(tmp_path: Path) -> None:
    path = table(tmp_path, of_two_classes(80))
    built = TextTableConfig(path=path, test_fraction=0.25, validation_fraction=0.2).build(3)
    counts = [s.targets.bincount().tolist() for s in (built.train, built.validation, built.test)]
    assert counts == [[12, 36], [3, 9], [5, 15]]


def test_the_seed_draws_the_validation_rows_and_never_the_test_rows(tmp_path: Path) -> None:
    config = TextTableConfig(path=table(tmp_path, of_two_classes(80)), vocabulary=1000)

    def words(seed: int) -> tuple[set[str], int]:
        built = config.build(seed)
        return set(built.prepared["symbols"]), len(built.test)

    assert words(1) == words(1)
    assert words(1) != words(2)
    never_known = [
        f"word{i}" for i in range(80) if all(f"word{i}" not in words(s)[0] for s in range(9))
    ]
    assert len(never_known) == words(0)[1] == 8


def test_test_rows_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    test = table(tmp_path, [("id", "label", "text"), ("1", "good", "word1 x")], "test.tsv")
    config = TextTableConfig(path=table(tmp_path, of_two_classes(40)), test_path=test)
    built = config.build(0)
    assert (len(built.train), len(built.validation), len(built.test)) == (36, 4, 1)
    assert built.test.targets.tolist() == [1]


def test_quoted_fields_hold_delimiters_line_ends_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('text,label\n"a, ""b""\nc",x\r\n\n"d",y\n')
    config = TextTableConfig(path=str(path), validation_fraction=0.0, test_fraction=0.0)
    assert spelled(config.build(0), 0) == ["a", ",", '"', "b", '"', "c"]


def test_a_batch_holds_texts_and_their_lengths(tmp_path: Path) -> None:
    built = only([("a b", "0"), ("a", "1")], tmp_path)
    [((texts, lengths), (targets,), weight, _)] = built.train.serve(2).epoch(0)
    assert (texts.shape, lengths.tolist(), targets.tolist(), weight) == ((2, 2), [2, 1], [0, 1], 2)


def test_a_prediction_reads_texts_as_training_did(tmp_path: Path) -> None:
    rows = [("A film, bad", "0"), ("good film", "1"), ("the the the", "1")]
    built = only(rows, tmp_path, max_length=4)
    config = TextTableConfig(path="unused", max_length=4)
    one = tmp_path / "one.txt"
    one.write_text("Good FILM")
    many = table(tmp_path, [("n", "text"), ("1", "the the the")], "many.csv")
    samples = config.prepare([rows[0][0], str(one), many], built.prepared)
    assert samples.inputs.equal(built.train.inputs)
    assert samples.lengths.equal(built.train.lengths)
    assert samples.targets.equal(torch.zeros(3, dtype=torch.int64))
    assert config.prepare(["unheard of"], built.prepared).inputs.tolist() == [[1, 1]]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_table_is_a_pure_function_of_the_seed(tmp_path: Path, seed: int) -> None:
    config = TextTableConfig(path=table(tmp_path, of_two_classes(40)))
    first, second = config.build(seed), config.build(seed)
    assert first.train.inputs.equal(second.train.inputs)
    assert first.prepared == second.prepared


@pytest.mark.parametrize(("unit", "text"), [("word", "don't like it !"), ("character", "ab c")])
def test_a_text_can_be_read_again_from_its_tokens(tmp_path: Path, unit: str, text: str) -> None:
    path = table(tmp_path, [HEADER, (text, "0"), ("x", "1")])
    config = TextTableConfig(path=path, unit=unit, validation_fraction=0.0, test_fraction=0.0)  # type: ignore[arg-type]
    built = config.build(0)
    tokens = built.train.inputs[0, : int(built.train.lengths[0])]
    assert config.described(tokens, built.prepared) == {"text": text}


QUOTED = [
    "bad one 0\tneg",
    '"nice one 1\tpos',
    "bad one 2\tneg",
    'nice one 3"\tpos',
    "bad 4\tneg",
] * 5


def test_a_stray_quotation_mark_is_named_and_can_be_a_character(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(["text\tlabel", *QUOTED]))
    keys = {"path": str(path), "test_fraction": 0.0, "validation_fraction": 0.0}
    with pytest.raises(DataError, match=r"lines 3 to 5[\s\S]*data.quoting: none"):
        TextTableConfig(**keys).build(0)
    assert len(TextTableConfig(**keys, quoting="none").build(0).train) == len(QUOTED)
