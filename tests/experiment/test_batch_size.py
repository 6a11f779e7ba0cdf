"""`data.batch_size: auto`: what is found, said and stored."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from small_files import CONFIGS
from typer.testing import Result

from bptrain.commands.fit import planned_together
from bptrain.config import load_config
from bptrain.errors import ConfigKeyError, MemoryExhaustedError
from bptrain.experiment import batch_size
from bptrain.experiment.batch_size import by_trying, halved, memory_of, plan_for_training, plan_with
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import Plan
from bptrain.train.job import Place

Bptrain = Callable[..., Result]
DIGITS = CONFIGS / "digits_mlp.yaml"
AUTO = ["data.batch_size=auto", "monitor.level=basic"]


def config_of(*words: str) -> ExperimentConfig:
    return load_config(ExperimentConfig, DIGITS, [*AUTO, *words])


def free(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    monkeypatch.setattr(batch_size, "available_bytes", lambda device: int(count))


def test_small_data_is_the_limit(bptrain: Bptrain) -> None:
    shown = bptrain("fit", DIGITS, *AUTO, "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    assert "1,294 train" in shown.stdout
    said = "batch_size auto: 1,024, the largest power of two that the training samples fill"
    assert said in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize("config", ["digits_cnn.yaml", "adding_lstm.yaml"])
def test_memory_is_the_limit_and_what_a_step_takes_is_foreseen(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_config(ExperimentConfig, CONFIGS / config, AUTO)
    dataset = loaded.data.build(loaded.seed)
    half, whole = (memory_of(plan_with(loaded, dataset, size)) for size in (64, 128))
    free(monkeypatch, (half + whole) / 2 / batch_size.CPU_SHARE)
    found = plan_for_training(loaded)
    assert found.config.batch_size == 64
    assert "twice as many samples" in found.batch_size_note


def test_a_resumed_run_keeps_its_batch_size(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bptrain("fit", DIGITS, *AUTO, "train.epochs=1").exit_code == 0
    free(monkeypatch, 1)
    for resume in ("--resume", "--resume=auto"):
        resumed = bptrain("fit", DIGITS, *AUTO, "train.epochs=2", resume)
        assert resumed.exit_code == 0, resumed.stderr
    run = load_config(ExperimentConfig, Path("runs/digits-mlp/config.yaml"))
    assert run.data.batch_size == 1024


def test_no_sample_that_fits_is_out_of_memory(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 1)
    refused = bptrain("fit", DIGITS, *AUTO, "--dry-run")
    assert refused.exit_code == 7
    assert "a training step with one sample does not fit" in refused.stderr


def test_a_text_leaves_each_stream_a_window(tmp_path: Path) -> None:
    (tmp_path / "verse.txt").write_text("round and round the rugged rock\n" * 20)
    (tmp_path / "text.yaml").write_text(
        "data: {kind: text, path: verse.txt, window: 16, batch_size: auto}\n"
        "model: {kind: rnn, cell: lstm, hidden: 8}\n"
    )
    found = plan_for_training(load_config(ExperimentConfig, tmp_path / "text.yaml"))
    assert found.config.batch_size == 32  # of 576 characters
    assert found.steps_per_epoch == 1


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have steps of more than 100 samples take more memory than there is; return those tried."""
    tried = []

    def take(made: Plan) -> None:
        tried.append(made.config.batch_size)
        if made.config.batch_size > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(batch_size, "take_steps", take)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    for name, count in (("memory_reserved", 0), ("max_memory_reserved", 10**6)):
        monkeypatch.setattr(torch.cuda, name, lambda device, count=count: count)
    return tried


def test_on_a_gpu_batches_are_halved_until_one_fits(
    gpu: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 10**9)
    loaded = config_of()
    dataset = loaded.data.build(0)
    found = by_trying(loaded, dataset, torch.device("cpu"), 512)
    assert found.batch_size == 64
    assert gpu == [512, 256, 128, 64]
    assert "a step took 1.0 MB of 1.0 GB free" in found.why


def test_on_a_gpu_what_its_estimate_excludes_is_not_tried(
    gpu: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = config_of()
    dataset = loaded.data.build(0)
    estimate = plan_with(loaded, dataset, 64).memory.total
    free(monkeypatch, 1.01 * estimate / batch_size.GPU_SHARE)
    assert by_trying(loaded, dataset, torch.device("cpu"), 512).batch_size == 64
    assert gpu == [64]


def test_sizes_are_halved_to_the_first_that_fits() -> None:
    assert halved(1024, lambda size: size <= 300) == 256
    assert halved(1, lambda size: True) == 1
    with pytest.raises(MemoryExhaustedError):
        halved(64, lambda size: False)


def test_processes_of_a_job_need_a_number() -> None:
    job = SimpleNamespace(place=Place(rank=0, local=0, count=2))
    with pytest.raises(ConfigKeyError, match="each process of a job would find its own"):
        planned_together(job, config_of(), Console(quiet=True))


@pytest.mark.parametrize(
    "words",
    [
        ["explain"],
        *(pytest.param(each, marks=pytest.mark.slow) for each in (["lr"], ["tape"], ["check"])),
    ],
)
def test_other_commands_take_it_too(bptrain: Bptrain, words: list[str]) -> None:
    config = ["model.hidden=[4]", *AUTO]
    result = bptrain(words[0], DIGITS, *config, *words[1:])
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [("Auto", "did you mean: auto"), ("64.0", "did you mean: 64"), ("0", "from 1 to 1048576")],
)
def test_a_wrong_batch_size_is_told_what_is_allowed(
    bptrain: Bptrain, given: str, said: str
) -> None:
    result = bptrain("validate", DIGITS, f"data.batch_size={given}")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "or auto" in result.stderr
