"""Predictions and evaluations of saved runs: every task's predictions, every damage refused."""

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from small_files import CONFIGS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from typer.testing import CliRunner

from bptrain.cli import app
from bptrain.commands.predict import to_csv, to_rows
from bptrain.data.batches import Batch
from bptrain.data.images.digits import DigitsConfig
from bptrain.data.splits import Samples
from bptrain.errors import CheckpointError, DataError, exit_code_of
from bptrain.experiment.prediction import predictions
from bptrain.problem import Problem
from bptrain.rundir.prepared import read_prepared, write_prepared
from bptrain.tasks.decision import BY_SOFTMAX

DIGITS = CONFIGS / "digits_mlp.yaml"


def prepare_rows(config: object, words: Sequence[str], prepared: Mapping[str, Any]) -> Samples:
    """Read scikit-learn's digits by index; `all` means the first four."""
    rows: list[int] = []
    for word in words:
        if word != "all" and not word.isdigit():
            raise DataError(f"{word}: not a number of a digit")
        rows += range(4) if word == "all" else [int(word)]
    images = torch.from_numpy(load_digits().images[rows]).float().unsqueeze(1)
    scaled = (images - prepared["mean"]) / prepared["std"]
    return Samples(scaled, torch.zeros(len(rows), dtype=torch.int64))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of digits, to be copied."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["fit", str(DIGITS), "train.epochs=5", "--run-dir", str(folder)]
    assert CliRunner().invoke(app, words).exit_code == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run of digits whose inputs can be named by their number."""
    monkeypatch.setattr(DigitsConfig, "prepare", prepare_rows, raising=False)
    copy: Path = shutil.copytree(trained, tmp_path / "run")
    return copy


def test_each_input_gets_its_most_probable_classes(bptrain: Callable, run: Path) -> None:
    found = json.loads(bptrain("predict", run, "0", "11", "25", "--json").stdout)
    assert [each["input"] for each in found] == ["0", "11", "25"]
    assert [each["class"] for each in found] == [str(n) for n in load_digits().target[[0, 11, 25]]]
    for each in found:
        assert each["top"][0] == {"class": each["class"], "probability": each["probability"]}
        assert 0.5 < each["probability"] <= 1
        assert len(each["top"]) == 3
        assert sum(rank["probability"] for rank in each["top"]) <= 1 + 1e-6


def test_predict_prints_a_table_and_csv_of_the_same(bptrain: Callable, run: Path) -> None:
    found = json.loads(bptrain("predict", run, "7", "8", "--json").stdout)
    heading, *rows = bptrain("predict", run, "7", "8").stdout.splitlines()
    assert heading.split() == ["input", "class", "probability", "top"]
    assert [row.split()[:2] for row in rows] == [[each["input"], each["class"]] for each in found]
    read = list(csv.DictReader(StringIO(bptrain("predict", run, "7", "8", "--csv").stdout)))
    assert [row["class"] for row in read] == [each["class"] for each in found]
    assert [float(row["probability_3"]) for row in read] == [
        each["top"][2]["probability"] for each in found
    ]


def test_a_file_of_many_samples_has_an_answer_for_each_row(bptrain: Callable, run: Path) -> None:
    rows = ["all:1", "all:2", "all:3", "all:4"]
    for words, names in ((["all"], rows), (["5", "all"], ["5:1", *rows])):
        found = json.loads(bptrain("predict", run, *words, "--json").stdout)
        assert [each["input"] for each in found] == names


def test_the_state_to_predict_with_can_be_chosen(bptrain: Callable, run: Path) -> None:
    found = {
        which: bptrain("predict", run, "0", "--checkpoint", which, "--json").stdout
        for which in ("best", "last")
    }
    best = min(
        (json.loads((path / "state.json").read_text())["metrics"].get("val/loss", inf), path.name)
        for path in (run / "checkpoints").iterdir()
    )[1]
    assert (found["best"] == found["last"]) == (best == "step-000105")


def test_an_input_that_is_unfit_is_exit_3(bptrain: Callable, run: Path) -> None:
    result = bptrain("predict", run, "no number")
    assert result.exit_code == 3
    assert "no number: not a number of a digit" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "found"),
    [
        (["nowhere", "1"], 2, "not a run directory"),
        (["run", "1", "--json", "--csv"], 2, "--json and --csv"),
        (["run", "1", "--length", "3"], 2, "are for language models, this is classification"),
        (["run", "1", "--seed", "0"], 2, "are for language models, this is classification"),
    ],
)
def test_predict_refuses_what_it_cannot_do(
    bptrain: Callable, run: Path, words: list[str], code: int, found: str
) -> None:
    result = bptrain("predict", *words)
    assert (result.exit_code, found in result.stderr) == (code, True)


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: text.replace('"outputs": 10', '"outputs": 11'),
        lambda text: text.replace('"mean": 4', '"mean": 5'),
        lambda text: "[1]",
        lambda text: '{"sha256": 1}',
        lambda text: "[" * 100_000,
        lambda text: "\0" * 100,
    ],
)
def test_damage_to_what_was_prepared_is_exit_4(
    bptrain: Callable, run: Path, harm: Callable[[str], str]
) -> None:
    path = run / "prepared.json"
    path.write_text(harm(path.read_text()))
    result = bptrain("predict", run, "1")
    assert result.exit_code == 4, result.output
    assert "prepared.json: cannot be used" in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 6


def test_a_run_without_its_prepared_values_is_exit_4(bptrain: Callable, run: Path) -> None:
    (run / "prepared.json").unlink()
    assert bptrain("predict", run, "1").exit_code == 4


def test_a_model_altered_in_the_config_is_exit_4_and_never_built(
    bptrain: Callable, run: Path
) -> None:
    config = run / "config.yaml"
    text = config.read_text()
    for width in (255, 1_000_000):
        config.write_text(text.replace("[256, 128]", f"[{width}, {width}]"))
        result = bptrain("predict", run, "1")
        assert result.exit_code == 4
        assert "model.hidden was" in result.stderr


def test_problem_and_prepared_values_come_back_as_they_were(tmp_path: Path) -> None:
    problem = Problem("tagging", (7, 2), 3, 40, is_sequence=True, varies=True, names=("ä", "|"))
    prepared = {"mean": [0.1, 2.5e-300], "vocabulary": ["a", "\u2028"], "none": None}
    write_prepared(tmp_path, problem, prepared)
    assert read_prepared(tmp_path) == (problem, prepared)


def test_a_signed_file_of_another_form_is_refused(tmp_path: Path) -> None:
    for problem in ({"task": "poetry"}, {"task": "tagging", "input_shape": "4", "outputs": 2}):
        from bptrain.rundir.prepared import checksum

        content = {"problem": problem, "prepared": {}}
        text = json.dumps({**content, "sha256": checksum(content)})
        (tmp_path / "prepared.json").write_text(text)
        with pytest.raises(CheckpointError) as refused:
            read_prepared(tmp_path)
        assert exit_code_of(refused.value) == 4


def predictions_for(problem: Problem, outputs: Tensor, *lengths: Tensor) -> list[dict[str, Any]]:
    config: Any = SimpleNamespace(loss=None, kernels="fused")
    batch = Batch((outputs, *lengths), (), len(outputs))
    model: Any = lambda outputs, *lengths: outputs  # noqa: E731
    return list(predictions(config, problem, model, batch, BY_SOFTMAX))


def test_a_regression_predicts_a_value_for_each_column() -> None:
    problem = Problem("regression", (4,), 2, names=("price", "age"))
    found = predictions_for(problem, torch.tensor([[1.5, -2.0], [0.25, 4.0]]))
    assert found == [{"price": 1.5, "age": -2.0}, {"price": 0.25, "age": 4.0}]
    named = [{"input": "a.csv", **each} for each in found]
    assert to_rows(named)[1:] == [["a.csv", "1.5", "-2"], ["a.csv", "0.25", "4"]]
    assert to_csv(found) == "price,age\n1.5,-2.0\n0.25,4.0\n"


def test_a_long_input_is_shortened_only_in_the_table() -> None:
    found = [{"input": "word\n" * 100, "class": "1"}]
    assert len(to_rows(found)[1][0]) <= 60
    assert to_csv(found).count("word") == 100


ONE_HOT = torch.eye(3)


def test_sequences_are_predicted_up_to_their_own_length() -> None:
    outputs = torch.stack([ONE_HOT[[0, 1, 2, 0]], ONE_HOT[[2, 1, 1, 1]]]) * 9
    lengths = torch.tensor([3, 2])
    tags = Problem("tagging", (4, 1), 3, varies=True, names=("A", "B", "C"))
    assert predictions_for(tags, outputs, lengths) == [
        {"classes": ["A", "B", "C"]},
        {"classes": ["C", "B"]},
    ]
    assert to_csv(predictions_for(tags, outputs, lengths)) == "classes\nA B C\nC B\n"

    speech = Problem("transcription", (4, 1), 3, varies=True, names=("", "a", "b"))
    assert predictions_for(speech, outputs, lengths) == [{"text": "ab"}, {"text": "ba"}]


def test_an_answer_that_is_not_a_number_is_an_error_of_the_input() -> None:
    with pytest.raises(DataError, match="not a number"):
        predictions_for(Problem("regression", (4,), 1), torch.tensor([[float("nan")]]))


def test_a_run_leaves_pictures_and_logs_them_to_tensorboard(bptrain: Callable, run: Path) -> None:
    (best,) = (run / "pictures").iterdir()
    names = {"confusion", "mistakes", "reliability"}
    assert {path.name for path in best.iterdir()} == {f"{name}.png" for name in names}
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    flow = {"Flow/by_depth", "Flow/by_step"}
    assert set(board.Tags()["images"]) == {*(f"test/{name}" for name in names), *flow}
    assert [event.step for event in board.Images("test/confusion")] == [105]
    assert "test/confusion/text_summary" in board.Tags()["tensors"]


def test_evaluate_prints_every_metric_and_the_confusion_table(bptrain: Callable, run: Path) -> None:
    result = bptrain("evaluate", run, "--checkpoint", "last")
    assert result.exit_code == 0
    for name in ("test/loss", "test/accuracy", "test/top5", "test/macro_f1"):
        assert f"\n{name} " in result.stdout
    table = result.stdout.split("true \\ predicted")[1].splitlines()
    counts = [sum(int(n) for n in row.split()[1:] if n != ".") for row in table[1:11]]
    assert sum(counts) == 359
    assert "pictures/step-000105/confusion.png" in result.stdout


def test_without_a_test_split_the_held_out_samples_are_evaluated(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    whole = DigitsConfig.build
    monkeypatch.setattr(
        DigitsConfig, "build", lambda self, seed: replace(whole(self, seed), test=None)
    )
    result = bptrain("fit", DIGITS, "train.epochs=1", "--run-dir", "run")
    assert result.exit_code == 0, result.stderr
    assert "test/" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert list((tmp_path / "run" / "pictures").glob("*/confusion.png"))
    printed = json.loads(bptrain("evaluate", "run", "--json").stdout)
    assert "val/macro_f1" in printed

    words = ["train.epochs=1", "data.validation_fraction=0.0", "--run-dir", "bare"]
    assert bptrain("fit", DIGITS, *words).exit_code == 0
    result = bptrain("evaluate", "bare")
    assert result.exit_code == 2
    assert "neither test nor validation samples" in result.stderr


def test_a_validation_loss_that_is_no_number_is_exit_6(
    bptrain: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bptrain.experiment.evaluation.result_of", lambda *_: {"loss": float("nan")}
    )
    result = bptrain("fit", DIGITS, "train.epochs=1")
    assert result.exit_code == 6
    assert "the val loss is nan" in result.stderr
