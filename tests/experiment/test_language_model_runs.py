"""Runs of a language model: trained by windows, its sample, and how it continues a prompt."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fingerprints import SYMBOLS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from bptrain.cli import app
from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.evaluation import evaluate_state
from bptrain.experiment.plan import plan
from bptrain.rundir.checkpoint import best_checkpoint

VERSE = "round and round the rugged rock\n" * 40
CONFIG = """\
data: {kind: text, path: verse.txt, window: 16, batch_size: 4, test_fraction: 0.1}
model: {kind: rnn, cell: gru, hidden: 16, tied: true, init: orthogonal}
optimizer: {kind: adam, lr: 0.02}
train: {epochs: 8}
"""

TRANSFORMER = """\
data: {kind: text, path: verse.txt, window: 16, batch_size: 4, test_fraction: 0.1}
model: {kind: transformer, width: 32, depth: 2, heads: 2, tied: true}
optimizer: {kind: adam, lr: 0.004}
schedule: {kind: cosine, warmup_steps: 10}
train: {epochs: 10}
"""


@pytest.fixture
def trained(bptrain: Callable, tmp_path: Path) -> Callable[..., Path]:
    """Train on the verse, with keys changed, and return the run's folder."""

    def train(folder: str, *words: str) -> Path:
        write_text_and_config(tmp_path)
        result = bptrain("fit", "text.yaml", *words, "--run-dir", folder)
        assert result.exit_code == 0, result.stderr
        return tmp_path / folder

    return train


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train to the end, with a whole sample, and return the folder of text, config and run."""
    folder = tmp_path_factory.mktemp("learned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_text_and_config(folder)
        result = CliRunner().invoke(app, ["fit", "text.yaml", "--run-dir", "run"])
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def run(learned: Path, tmp_path: Path) -> Path:
    """Return a copy of the trained run, in the test's folder."""
    shutil.copytree(learned, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def write_text_and_config(folder: Path) -> None:
    (folder / "verse.txt").write_text(VERSE)
    (folder / "text.yaml").write_text(CONFIG)


def values_of(run: Path, tag: str) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line[tag] for line in lines if tag in line]


def test_a_run_learns_the_verse_and_ends_with_a_sample_in_tensorboard(run: Path) -> None:
    losses = values_of(run, "val/loss")
    assert losses[-1] < losses[0] / 2
    sample = (run / "sample.txt").read_text()
    assert len(sample) == 1000
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    (shown,) = board.Tensors("sample/text_summary")
    text = shown.tensor_proto.string_val[0].decode()
    assert all(line.startswith("    ") for line in text.splitlines())  # Markdown's code block
    assert "\n".join(line[4:] for line in text.split("\n")) == sample


def test_without_a_validation_split_the_sample_is_from_the_last_state(
    trained: Callable[..., Path],
) -> None:
    words = ["data.validation_fraction=0.0", "data.test_fraction=0.0", "train.steps=2"]
    assert len((trained("run", *words) / "sample.txt").read_text()) == SYMBOLS


def test_predict_continues_a_prompt_by_its_options(bptrain: Callable, run: Path) -> None:
    def said(*words: object) -> list[dict[str, str]]:
        result = bptrain("predict", run, "round and", "the", *words, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    sure = said("--length", 12, "--temperature", 0)
    assert [each["input"] for each in sure] == ["round and", "the"]
    assert sure[0]["text"] == " round the r"
    assert {len(each["text"]) for each in said()} == {1000}
    wild = said("--length", 50, "--temperature", 3, "--seed", 1)
    assert wild == said("--length", 50, "--temperature", 3, "--seed", 1)
    assert wild != said("--length", 50, "--temperature", 3, "--seed", 2)
    table = bptrain("predict", run, "round and", "--length", 5, "--temperature", 0).stdout
    assert table.splitlines()[1].split() == ["round", "and", "round"[:4]]


def test_a_transformer_learns_the_verse_and_writes_beyond_its_window(
    bptrain: Callable, tmp_path: Path
) -> None:
    (tmp_path / "verse.txt").write_text(VERSE)
    (tmp_path / "text.yaml").write_text(TRANSFORMER)
    fitted = bptrain("fit", "text.yaml", "--run-dir", "run")
    assert fitted.exit_code == 0, fitted.stderr
    losses = values_of(tmp_path / "run", "val/loss")
    assert losses[-1] < losses[0] / 2
    words = ["predict", "run", "round and", "--length", 64, "--temperature", 0, "--json"]
    result = bptrain(*words)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)[0]["text"] == (VERSE * 2)[9:73]
    refused = bptrain("fit", "text.yaml", "train.bptt=4", "--run-dir", "other")
    assert (refused.exit_code, "carries no state" in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--temperature", "-1"], "temperature -1.0: expected a number of at least 0"),
        (["--temperature", "nan"], "temperature nan"),
        (["--length", "-1"], "--length"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_invalid_sampling_options_are_exit_2(
    bptrain: Callable, run: Path, words: list[str], said: str
) -> None:
    result = bptrain("predict", run, "a", *words)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_an_empty_prompt_is_exit_3(bptrain: Callable, run: Path) -> None:
    result = bptrain("predict", run, "")
    assert (result.exit_code, "an empty text" in result.stderr) == (3, True)


def test_the_text_is_cut_as_bptt_says_and_evaluated_alike_for_every_bptt(
    trained: Callable[..., Path],
) -> None:
    run = trained("run", "train.bptt=4", "train.epochs=1", "monitor.log_every=1")
    steps = len(values_of(run, "perf/step_ms"))
    assert steps > 3 * len(values_of(trained("long", "train.epochs=1", "monitor.log_every=1"),
                                     "perf/step_ms"))  # fmt: skip
    losses = []
    for window in (4, 16):
        cut = load_config(ExperimentConfig, run / "config.yaml", [f"train.bptt={window}"])
        evaluated = evaluate_state(build(plan(cut)), best_checkpoint(run / "checkpoints"))
        assert evaluated is not None
        losses.append(evaluated.values["test/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)  # the state is carried over


def test_perplexity_does_not_depend_on_the_batch_size_it_is_evaluated_with(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    found = []
    for rows in (1, 4, 5, 64):
        words = [f"data.batch_size={rows}", "data.window=2"]
        config = load_config(ExperimentConfig, run / "config.yaml", words)
        evaluated = evaluate_state(build(plan(config)), best_checkpoint(run / "checkpoints"))
        assert evaluated is not None
        found.append(evaluated.values["test/perplexity"])
    assert found == pytest.approx([found[0]] * len(found), rel=1e-6)


def test_check_and_dry_run_know_what_a_language_model_reads(
    bptrain: Callable, tmp_path: Path
) -> None:
    (tmp_path / "verse.txt").write_text(VERSE)
    (tmp_path / "text.yaml").write_text(CONFIG)
    words = ["model.hidden=3", "data.window=4"]
    shown = bptrain("fit", "text.yaml", *words, "--dry-run")
    assert (shown.exit_code, "4 x 4 x 3" in shown.stdout) == (0, True), shown.output
    cut = bptrain("fit", "text.yaml", *words, "train.bptt=2", "--dry-run")
    assert "4 x 2 x 3" in cut.stdout
    checked = bptrain("check", "text.yaml", *words)
    assert checked.exit_code == 0, checked.output


def test_an_option_that_does_not_apply_to_text_is_refused_with_its_line(
    bptrain: Callable, tmp_path: Path
) -> None:
    (tmp_path / "verse.txt").write_text(VERSE)
    (tmp_path / "text.yaml").write_text(CONFIG.replace("tied: true", "bidirectional: true"))
    result = bptrain("fit", "text.yaml")
    assert result.exit_code == 2
    assert (
        "text.yaml:2: model.bidirectional: a language model cannot be bidirectional"
        in result.stderr
    )
