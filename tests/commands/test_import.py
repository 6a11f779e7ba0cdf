"""Runs that start from the weights of other programs."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_files import CONFIGS
from torch import nn

from bptrain.errors import CheckpointError
from bptrain.experiment.foreign_weights import load_matched, match, without_prefixes
from bptrain.experiment.state_dict_file import read_pickles
from bptrain.models.cnn import CNNConfig
from bptrain.problem import Problem

DIGITS = CONFIGS / "digits_mlp.yaml"
STEPS = ("train.steps=3", "model.hidden=[8]")


def plain() -> nn.Sequential:
    """Return digits_mlp.yaml's model with one hidden layer, in plain torch."""
    torch.manual_seed(3)
    model = nn.Sequential()
    for name, layer in {
        "flatten": nn.Flatten(),
        "linear1": nn.Linear(64, 8),
        "relu1": nn.ReLU(),
        "output": nn.Linear(8, 10),
    }.items():
        model.add_module(name, layer)
    return model


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
def test_prefixes_of_wrappers_are_taken_off(prefix: str) -> None:
    model = plain()
    given = {prefix + name: each + 1 for name, each in model.state_dict().items()}
    matched = match(given, model)
    assert matched.fits
    load_matched(model, matched)
    assert torch.equal(model.output.bias, given[prefix + "output.bias"])


def test_a_compiled_part_of_a_model_has_its_own_name() -> None:
    assert without_prefixes({"a._orig_mod.weight": torch.ones(1)}, {"a.weight": None}).keys() == {
        "a.weight"
    }


def test_a_first_part_that_is_the_models_own_stays() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert match(model.state_dict(), model).fits


def test_what_does_not_fit_is_listed() -> None:
    model = plain()
    given = {f"other.{number}": torch.ones(1) for number in range(12)}
    given |= {"output.weight": torch.ones(3, 8), "output.bias": torch.ones(10, dtype=torch.int64)}
    matched = match(given, model)
    missing, unexpected, misshaped = matched.lines()
    assert missing == "2 missing in the file: linear1.weight, linear1.bias"
    assert unexpected.startswith("12 unexpected in the file: other.0, other.1, ")
    assert unexpected.endswith("other.9 and 2 more")
    assert misshaped == (
        "2 of another shape: output.bias torch.int64, expected torch.float32, "
        "output.weight [3, 8], expected [10, 8]"
    )


def test_a_shared_weight_needs_one_name_and_takes_one_value() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    given = {"0.weight": torch.ones(2, 2)}
    assert match(given, model).fits
    both = {**given, "1.weight": torch.zeros(2, 2)}
    with pytest.raises(CheckpointError, match="shares this weight"):
        load_matched(model, match(both, model))


def test_the_weights_of_torchvision_fit_by_their_names() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18(num_classes=7).eval()
    problem = Problem("classification", (3, 32, 32), 7)
    ours = CNNConfig(preset="resnet18").build(problem, "cpu").eval()
    matched = match({f"module.{name}": each for name, each in theirs.state_dict().items()}, ours)
    assert matched.fits
    load_matched(ours, matched)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_a_run_exported_and_imported_is_evaluated_alike_and_trains_on(bptrain: Callable) -> None:
    assert bptrain("fit", DIGITS, *STEPS, "--run-dir", "first").exit_code == 0
    assert bptrain("export", "first", "model.pt").exit_code == 0
    words = ("import", "model.pt", DIGITS, *STEPS, "--run-dir", "second")
    made = bptrain(*words)
    assert (made.exit_code, made.stderr) == (0, "")
    assert "4 tensors taken from model.pt" in made.stdout
    first, second = (
        bptrain("evaluate", run, "--json").stdout.replace("step-000003", "step-000000")
        for run in ("first", "second")
    )
    assert first == second
    assert bptrain(*words).exit_code == 2  # a run is never overwritten
    resumed = bptrain("fit", DIGITS, *STEPS, "--resume", "--run-dir", "second")
    assert "step 0 of 3" in resumed.stdout
    assert resumed.exit_code == 0


def test_weights_that_fit_in_part_are_taken_with_partial_alone(bptrain: Callable) -> None:
    weights = {name: each.double() for name, each in plain().state_dict().items()}
    weights["output.weight"] = torch.ones(3, 8)
    save_file(weights, "part.safetensors")
    words = ("import", "part.safetensors", DIGITS, *STEPS, "--run-dir", "run")
    refused = bptrain(*words)
    assert (refused.exit_code, "--partial takes what fits" in refused.stderr) == (4, True)
    assert "1 of another shape: output.weight [3, 8], expected [10, 8]" in refused.stdout
    assert not Path("run").exists()
    assert "3 tensors taken" in bptrain(*words, "--partial").stdout


@pytest.mark.parametrize(
    ("name", "code"),
    [("missing.pt", 4), ("model.onnx", 2), ("folder.pt", 4), ("words.safetensors", 4)],
)
def test_a_file_that_is_none_is_refused(bptrain: Callable, name: str, code: int) -> None:
    Path("folder.pt").mkdir()
    Path("words.safetensors").write_text("words")
    assert bptrain("import", name, DIGITS).exit_code == code


class Evil:
    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def packed(content: bytes) -> bytes:
    """Return a file of torch.save with its storages packed, 1,000 to 1."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as read, zipfile.ZipFile(file, "w") as written:
        for each in read.infolist():
            written.writestr(each.filename, read.read(each), zipfile.ZIP_DEFLATED)
    return file.getvalue()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a call of the system": lambda: saved({"w": Evil(os.system, "touch evil")}),
    "of an old format": lambda: saved(
        {"w": Evil(os.system, "touch evil")}, _use_new_zipfile_serialization=False
    ),
    "a class of its own": lambda: saved({"w": torch.ones(2), "x": Evil(eval, "open('evil', 'w')")}),
    "a whole model": lambda: saved(nn.Linear(2, 2)),
    "a list": lambda: saved([torch.ones(2)]),
    "numbers": lambda: saved({"w": 1.0}),
    "nothing": lambda: saved({}),
    "a sparse tensor": lambda: saved({"w": torch.eye(3).to_sparse()}),
    "a tensor of 4 TB in one number": lambda: saved({"w": torch.ones(1).expand(2**40)}),
    "a cut file": lambda: saved({"w": torch.ones(1000)})[:-500],
    "words": lambda: b"words",
    "no bytes": lambda: b"",
    "packed zeros": lambda: packed(saved({"w": torch.zeros(2**22)})),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_state_dict_is_refused_and_runs_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pt"
    path.write_bytes(HOSTILE[name]())
    _, read = read_pickles()
    with pytest.raises(CheckpointError) as refused:
        read(str(path).encode())
    assert str(refused.value).startswith(f"error: {path}: ")
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_dict_inside_a_trainers_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "trainer.pt"
    path.write_bytes(saved({"epoch": 3, "state_dict": {"w": torch.ones(2)}, "optimizer": {}}))
    _, read = read_pickles()
    assert len(read(str(path).encode())) > 0
