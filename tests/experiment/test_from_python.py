"""`bptrain.fit` and `bptrain.load`: a run as the commands make it, in one's own program."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import polars.selectors as cs
import pytest
import torch
from fingerprints import draw_fingerprints
from safetensors.torch import load_file
from stops import Stop

import bptrain
from bptrain.api.run import Run
from bptrain.config import ConfigErrors, config_of
from bptrain.errors import CheckpointError, ConfigKeyError, UsageError
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.saved_run import Choice

TINY: dict[str, Any] = {
    "name": "tiny",
    "device": "cpu",
    "data": {"kind": "xor", "samples": 40, "batch_size": 8},
    "model": {"kind": "mlp", "hidden": (4,)},
    "train": {"epochs": 2},
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_fingerprints(monkeypatch.setattr)


def weights_of(run: Run, checkpoint: Choice = "last") -> dict[str, torch.Tensor]:
    return dict(bptrain.load(run, checkpoint).model.state_dict())


def test_a_mapping_a_file_and_yaml_train_the_same_model() -> None:
    first = bptrain.fit(TINY)
    assert first.folder == Path("runs/tiny").absolute()
    config = first.folder / "config.yaml"
    second = bptrain.fit(str(config), run_dir="again")
    assert second.folder == Path("again").absolute()
    text = config.read_text(encoding="utf-8")
    runs = [first, second, bptrain.fit(text), bptrain.fit(first.config, run_dir="by-config")]
    other = bptrain.fit(TINY, ["seed=1"])
    assert other.folder == Path("runs/tiny-3").absolute()
    for run in runs:
        torch.testing.assert_close(weights_of(run), weights_of(first), rtol=0, atol=0)
    different = weights_of(other)["output.weight"]
    assert not torch.equal(weights_of(first)["output.weight"], different)


def test_keywords_change_keys_as_words_do() -> None:
    run = bptrain.fit(
        "{name: t, data: {kind: xor, samples: 40}, model: {kind: mlp, hidden: [4]}}",
        ["train.epochs=3"],
        seed=7,
        train__epochs=1,
        schedule={"kind": "cosine"},
        **{"optimizer.lr": 0.25},
    )
    config = run.config
    assert (config.seed, config.train.epochs, config.optimizer.lr) == (7, 1, 0.25)
    assert config.schedule.kind == "cosine"
    with pytest.raises(ConfigErrors, match=r"override 'train.epoch=1'[\s\S]*did you mean: epochs"):
        bptrain.fit(TINY, train__epoch=1)
    with pytest.raises(ConfigErrors, match=r"config:2: model.hiden"):
        bptrain.fit("data: {kind: xor}\nmodel: {kind: mlp, hiden: [4]}\n")
    with pytest.raises(UsageError, match="it holds a set"):
        bptrain.fit(TINY, model__hidden={4})


def test_it_prints_nothing_unless_asked(capfd: pytest.CaptureFixture[str]) -> None:
    bptrain.fit(TINY)
    assert capfd.readouterr() == ("", "")
    bptrain.fit(TINY, progress=True)
    printed = capfd.readouterr().out
    assert "step 10/10" in printed
    assert "run directory runs/tiny-2" in printed


def test_it_resumes_to_the_result_of_a_run_that_never_stopped(
    stopping: Callable[[int, Stop], None],
) -> None:
    whole = bptrain.fit(TINY, run_dir="whole")

    def interrupt() -> None:
        raise KeyboardInterrupt

    stopping(8, interrupt)
    with pytest.raises(KeyboardInterrupt):
        bptrain.fit(TINY, run_dir="cut")
    cut = bptrain.fit(TINY, run_dir="cut", resume=True)
    assert bptrain.fit(TINY, run_dir="new", resume="auto").metrics()["step"].max() == 10
    torch.testing.assert_close(weights_of(cut), weights_of(whole), rtol=0, atol=0)
    measured = cs.starts_with("perf/", "time_s")
    assert cut.metrics().drop(measured).equals(whole.metrics().drop(measured))
    with pytest.raises(UsageError, match="resume='yes'"):
        bptrain.fit(TINY, resume="yes")  # type: ignore[arg-type]


def test_a_run_starts_from_weights_of_another_program() -> None:
    first = bptrain.fit(TINY)
    torch.save(first.model.state_dict(), "weights.pt")
    begun = bptrain.import_weights("weights.pt", TINY, run_dir="begun", seed=5)
    torch.testing.assert_close(weights_of(begun), weights_of(first, "best"), rtol=0, atol=0)
    trained = bptrain.fit(TINY, run_dir=begun, resume=True, seed=5)
    assert trained.metrics()["step"].max() == 10
    with pytest.raises(CheckpointError, match=r"weights\.pt"):
        bptrain.import_weights("weights.pt", TINY, run_dir="other", model__hidden=[5])


def test_a_job_of_several_processes_is_refused_as_by_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="2 processes"):
        bptrain.fit(TINY)


def test_a_loaded_model_has_the_weights_of_the_checkpoint_and_evaluates() -> None:
    run = bptrain.fit(TINY)
    checkpoints = sorted(run.folder.glob("checkpoints/*"))
    stored = [load_file(each / "model.safetensors") for each in checkpoints]
    torch.testing.assert_close(weights_of(run), stored[-1], rtol=0, atol=0)
    best = weights_of(run, "best")
    assert any(all(torch.equal(best[key], one[key]) for key in best) for one in stored)
    model = bptrain.load(run, device="cpu").model
    assert not any(module.training for module in model.modules())
    assert model(torch.randn(3, 2)).shape == (3, 2)


def test_a_run_is_trained_in_a_thread() -> None:
    made: list[Run] = []
    thread = Thread(target=lambda: made.append(bptrain.fit(TINY)))
    thread.start()
    thread.join()
    assert bptrain.load(made[0]).model


def test_all_errors_of_a_mapping_are_named_by_their_keys() -> None:
    wrong = {**TINY, "model": {"kind": "mlp", "hiden": [4]}, "train": {"epochs": -1}}
    with pytest.raises(ConfigErrors, match=r"model\.hiden[\s\S]*did you mean: hidden[\s\S]*epochs"):
        bptrain.fit(wrong)
    with pytest.raises(ConfigErrors, match=r"override 'train\.epochs=x'"):
        bptrain.fit(TINY, ["train.epochs=x"])


def test_a_mapping_may_hold_a_path_and_nothing_unknown_to_yaml() -> None:
    data = {"kind": "mnist", "root": Path("Some/Where")}
    config = config_of(ExperimentConfig, {**TINY, "data": data})
    assert config.data.root == "Some/Where"
    with pytest.raises(UsageError, match="it holds a float64"):
        config_of(ExperimentConfig, {**TINY, "train": {"epochs": np.float64(2)}})


def test_an_error_after_reading_names_the_line_of_a_file() -> None:
    sections = (
        "data: {kind: xor}\nmodel: {kind: mlp}\ntrain:\n  early_stopping: {metric: val/bleu}\n"
    )
    Path("t.yaml").write_text("name: t\n" + sections, encoding="utf-8")
    with pytest.raises(UsageError, match=r"t\.yaml:5"):
        bptrain.fit("t.yaml")
    with pytest.raises(ConfigKeyError, match="early_stopping"):
        bptrain.fit({**TINY, "train": {"early_stopping": {"metric": "val/bleu"}}})


def test_a_folder_without_a_run_is_refused() -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        bptrain.load("nowhere")
    with pytest.raises(UsageError, match="best or last"):
        bptrain.load("nowhere", "newest")  # type: ignore[arg-type]
