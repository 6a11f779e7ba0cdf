"""`bptrain.fit` and `bptrain.load`: a run as the commands make it, in one's own program."""

import re
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_files import CONFIGS

import bptrain
from bptrain.config import ConfigErrors, config_of
from bptrain.errors import ConfigKeyError, UsageError
from bptrain.experiment.config import ExperimentConfig

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


def weights_of(run_dir: Path, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    return dict(bptrain.load(run_dir, checkpoint).state_dict())


def test_a_mapping_and_a_file_train_the_same_model(capsys: pytest.CaptureFixture[str]) -> None:
    first = bptrain.fit(TINY)
    assert first == Path("runs/tiny")
    assert "loss" in capsys.readouterr().out
    second = bptrain.fit(str(first / "config.yaml"), run_dir="again")
    assert second == Path("again")
    other = bptrain.fit(TINY, ["seed=1"])
    assert other == Path("runs/tiny-2")
    ours, same, different = map(weights_of, (first, second, other))
    torch.testing.assert_close(ours, same, rtol=0, atol=0)
    assert not torch.equal(ours["output.weight"], different["output.weight"])


def test_a_loaded_model_has_the_weights_of_the_checkpoint_and_evaluates() -> None:
    run_dir = bptrain.fit(TINY)
    stored = [load_file(p / "model.safetensors") for p in sorted(run_dir.glob("checkpoints/*"))]
    torch.testing.assert_close(weights_of(run_dir), stored[-1], rtol=0, atol=0)
    best = weights_of(run_dir, "best")
    assert any(all(torch.equal(best[key], one[key]) for key in best) for one in stored)
    model = bptrain.load(run_dir, device="cpu")
    assert not any(module.training for module in model.modules())
    assert model(torch.randn(3, 2)).shape == (3, 2)


def test_a_run_is_trained_in_a_thread() -> None:
    made: list[Path] = []
    thread = Thread(target=lambda: made.append(bptrain.fit(TINY)))
    thread.start()
    thread.join()
    assert bptrain.load(made[0])


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


def test_the_code_of_the_page_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "training.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    Path("configs").symlink_to(CONFIGS)
    names: dict[str, Any] = {}
    exec(compile(code, str(page), "exec"), names)
    assert names["outputs"].shape == (3, 2)


def test_a_folder_without_a_run_is_refused() -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        bptrain.load("nowhere")
