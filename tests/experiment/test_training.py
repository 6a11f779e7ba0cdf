"""Whole runs: every shipped config, and the accuracy of 98 % of the quickstart."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import sounds
from image_sets import write_cifar10, write_cifar100, write_emnist, write_folder
from small_files import CONFIGS, write_mnist

from bptrain.config import load_config
from bptrain.experiment.config import ExperimentConfig

SCRIPTS = CONFIGS.parent / "scripts"

TEXTS = {
    "text": "To be, or not to be, that is the question.\n" * 20,
    "text_table": "text,label\n" + "a fine day,good\nsuch a dull and rainy day,bad\n" * 30,
}


def losses_of(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_trains(
    bptrain: Callable, tmp_path: Path, mnist_files: dict, path: Path
) -> None:
    words = ["train.steps=2"]
    root = tmp_path / "root"
    writers = {
        "mnist": lambda: write_mnist(root, mnist_files),
        "fashion_mnist": lambda: write_mnist(root, mnist_files, "FashionMNIST"),
        "kmnist": lambda: write_mnist(root, mnist_files, "KMNIST"),
        "emnist": lambda: write_emnist(root),
        "cifar10": lambda: write_cifar10(root),
        "cifar100": lambda: write_cifar100(root),
        "image_folder": lambda: write_folder(root),
    }
    config = load_config(ExperimentConfig, path, [])
    kind = config.data.kind
    words += ["data.samples=300"] * (kind in ("adding", "copy"))
    if config.model.kind == "pretrained":
        words += ["model.weights=none", "data.size=32"]  # nothing is downloaded in tests
    if kind in ("table", "sequence"):
        write_tables = runpy.run_path(str(SCRIPTS / "write_tables.py"))["write_tables"]
        write_tables(tmp_path / "data")  # as the header of the config says
    if kind == "audio_folder":
        words.append(f"data.path={sounds.write_folder(tmp_path / 'digits', sounds.digits())}")
    if kind in writers:
        words += [f"data.root={writers[kind]()}", "data.batch_size=8"]
    if kind in TEXTS:
        (tmp_path / "text").write_text(TEXTS[kind])
        width = "width" if config.model.kind == "transformer" else "hidden"
        words += ["data.path=text", f"model.{width}=8"]
    if kind == "image_table":
        names = sorted(write_folder(tmp_path / "images").rglob("*.png"))
        rows = [f"{name},{name.parent.name}" for name in names]
        (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
        words.append("data.batch_size=8")
    if kind == "text_folder":
        for name in ("good/1.txt", "good/2.txt", "bad/1.txt", "bad/2.txt"):
            (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "texts" / name).write_text(f"a {name} day")
        words += ["data.root=texts", "model.hidden=8"]
    if kind == "text":
        words += ["data.window=8", "data.batch_size=4"]
    result = bptrain("fit", path, *words, "--run-dir", "run")
    assert result.exit_code == 0, result.stderr
    assert len(losses_of(tmp_path / "run")) >= 1


def test_the_quickstart_config_reaches_98_percent(bptrain: Callable) -> None:
    result = bptrain("fit", CONFIGS / "digits_mlp.yaml")
    assert result.exit_code == 0
    assert float(result.stdout.split("test accuracy ")[1].split("%")[0]) >= 98


def test_equal_seeds_give_equal_runs_and_others_do_not(bptrain: Callable, tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = [f"seed={seed}", "train.epochs=1", "--run-dir", folder]
        assert bptrain("fit", CONFIGS / "digits_mlp.yaml", *words).exit_code == 0
    a, b, c = (losses_of(tmp_path / folder) for folder in "abc")
    assert a == b
    assert a != c


def test_a_number_of_steps_replaces_epochs(bptrain: Callable, tmp_path: Path) -> None:
    words = ["train.steps=25", "monitor.log_every=10", "--run-dir", "run"]
    assert bptrain("fit", CONFIGS / "digits_mlp.yaml", *words).exit_code == 0
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 21, 25, 25]


def test_checkpoints_come_as_often_as_asked(bptrain: Callable, tmp_path: Path) -> None:
    words = ["train.epochs=5", "checkpoint.every_epochs=2", "checkpoint.keep_last=9"]
    assert bptrain("fit", CONFIGS / "digits_mlp.yaml", *words, "--run-dir", "run").exit_code == 0
    checkpoints = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert checkpoints == ["step-000000", "step-000042", "step-000084", "step-000105"]


def test_without_validation_the_last_state_is_tested(bptrain: Callable, tmp_path: Path) -> None:
    words = ["train.epochs=2", "data.validation_fraction=0.0", "--run-dir", "run"]
    result = bptrain("fit", CONFIGS / "digits_mlp.yaml", *words)
    assert result.exit_code == 0
    assert "val" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "step-000046" in result.stdout


def test_gradients_vanish_through_sigmoids_and_not_through_relus(
    bptrain: Callable, tmp_path: Path
) -> None:
    ratios = {}
    for activation in ("sigmoid", "relu"):
        words = [f"model.activation={activation}", "train.steps=20", "--run-dir", activation]
        assert bptrain("fit", CONFIGS / "digits_vanishing.yaml", *words).exit_code == 0
        line = json.loads((tmp_path / activation / "metrics.jsonl").read_text().splitlines()[0])
        ratios[activation] = line["grad/layer/linear1"] / line["grad/layer/output"]
    assert ratios["sigmoid"] < 1e-3
    assert ratios["relu"] > 1e-2


@pytest.mark.cuda
def test_a_run_on_cuda_gives_the_same_losses(bptrain: Callable, tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for device in ("cpu", "cuda"):
        words = ["train.epochs=1", f"device={device}", "--run-dir", device]
        assert bptrain("fit", CONFIGS / "digits_mlp.yaml", *words).exit_code == 0
    cpu, cuda = (losses_of(tmp_path / device) for device in ("cpu", "cuda"))
    assert cuda == pytest.approx(cpu, rel=1e-3)


def test_a_job_that_torchrun_did_not_start_is_refused(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # and nothing of how they meet, as torchrun says it
    for words in ([], ["--resume=auto"], ["--dry-run"], ["--fast-dev-run"]):
        result = bptrain("fit", CONFIGS / "digits_mlp.yaml", *words)
        assert result.exit_code == 2
        assert "a job of 2 processes" in result.stderr
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert bptrain("fit", CONFIGS / "digits_mlp.yaml", "--dry-run").exit_code == 0
