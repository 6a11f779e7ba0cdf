"""Exported models: their code, weights and graphs give the run's outputs without bptrain."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load, load_file
from small_files import CONFIGS
from torch import Tensor, nn

from bptrain.errors import BptrainError
from bptrain.experiment import exporting
from bptrain.experiment.exporting import (
    as_exported_program,
    as_onnx,
    as_safetensors,
    as_state_dict,
    example_inputs,
    refuse_other_outputs,
)
from bptrain.models import ModelConfig
from bptrain.models.layer_table import LAYERS
from bptrain.models.plain_code import _arguments, plain_code, plain_model
from bptrain.problem import Problem

IMAGES = Problem("classification", (2, 9, 9), 3)
SEQUENCES = Problem("classification", (8, 3), 4, is_sequence=True)
VARYING = Problem("classification", (8, 3), 4, is_sequence=True, varies=True)
TOKENS = Problem("tagging", (8,), 4, vocabulary=6, is_sequence=True, varies=True)
TEXT = Problem("language_model", (8,), 6, vocabulary=6, is_sequence=True)
LAYER_LIST = [
    {
        "residual": [{"Conv2d": {"out_channels": 4, "kernel_size": 3, "padding": 1}}],
        "projection": True,
    },
    {"concat": [["ReLU"], [{"Hardtanh": {"min_val": -2.0}}, "Tanh"]]},
    "Flatten",
    {"Linear": 3},
]
CASES: dict[str, tuple[dict, Problem]] = {
    "mlp": (
        {"kind": "mlp", "hidden": [5, 5], "normalization": "batch", "residual": True},
        IMAGES,
    ),
    "cnn": ({"kind": "cnn", "dropout": 0.2, "hidden": [6], "stages": [{"channels": 4}]}, IMAGES),
    "resnet": ({"kind": "cnn", "preset": "resnet", "depth": 8, "width": 0.25}, IMAGES),
    "cnn of sequences": ({"kind": "cnn", "stages": [{"channels": 4}]}, SEQUENCES),
    "sequential": ({"kind": "sequential", "layers": LAYER_LIST}, IMAGES),
    "rnn of rows": ({"kind": "rnn", "cell": "rnn", "hidden": 5, "embedding": 4}, IMAGES),
    "gru": (
        {"kind": "rnn", "cell": "gru", "hidden": 5, "bidirectional": True, "pool": "mean"},
        VARYING,
    ),
    "lstm": (
        {"kind": "rnn", "hidden": 5, "layers": 2, "bidirectional": True, "dropout": 0.1},
        VARYING,
    ),
    "max over time": ({"kind": "rnn", "cell": "rnn", "hidden": 5, "pool": "max"}, VARYING),
    "tagging": ({"kind": "rnn", "hidden": 5, "bidirectional": True}, TOKENS),
    "transformer of patches": (
        {"kind": "transformer", "width": 8, "heads": 2, "depth": 2, "patch": 3, "dropout": 0.1},
        IMAGES,
    ),
    "transformer of sequences": (
        {"kind": "transformer", "width": 8, "heads": 2, "depth": 2, "positions": "sinusoidal"},
        VARYING,
    ),
    "transformer, tagging": (
        {"kind": "transformer", "width": 8, "heads": 2, "depth": 1, "activation": "relu"},
        TOKENS,
    ),
    "transformer, language model": (
        {"kind": "transformer", "width": 8, "heads": 2, "depth": 2, "tied": True},
        replace(TEXT, input_shape=(16,)),
    ),
    "language model": ({"kind": "rnn", "hidden": 5, "tied": True, "embedding": 5}, TEXT),
}
GRAPHS = [
    *("mlp", "cnn", "language model"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            *("gru", "lstm", "tagging"),
            *("transformer of sequences", "transformer, language model"),
        )
    ),
]
WITHOUT_BPTRAIN = """
import importlib.util, sys, torch
from pathlib import Path
sys.modules["bptrain"] = None  # importing it raises
for folder in sorted(Path(sys.argv[1]).iterdir()):
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.build()
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    with torch.no_grad():
        torch.save(model.eval()(*inputs), folder / "outputs.pt")
"""


def model_of(name: str) -> tuple[nn.Module, Problem]:
    """Return the model of a case, its running statistics no longer those of a new model."""
    described, problem = CASES[name]
    torch.manual_seed(1)
    model = TypeAdapter(ModelConfig).validate_python(described).build(problem, "cpu")
    with torch.no_grad():
        for _ in range(2):
            model(*example_inputs(problem))
    return model.eval(), problem


def other_inputs(problem: Problem) -> tuple[Tensor, ...]:
    """Return a batch of another size, its sequences of other lengths where they may differ."""
    inputs = tuple(torch.cat([each, each[:2]]) for each in example_inputs(problem))
    if not problem.varies and problem.task != "language_model":
        return inputs
    longer = torch.cat([inputs[0], inputs[0].flip(1)[:, :4]], 1)
    return (longer, torch.tensor([4, 11, 1, 8, 2])) if problem.varies else (longer,)


def test_code_and_weights_give_the_outputs_without_bptrain(tmp_path: Path) -> None:
    expected = {}
    for name in CASES:
        model, problem = model_of(name)
        folder = tmp_path / name
        folder.mkdir()
        plain, inputs = plain_model(model), other_inputs(problem)
        (folder / "model.py").write_text(plain_code(plain, "A model."))
        (folder / "model.pt").write_bytes(as_state_dict(plain, problem))
        torch.save(inputs, folder / "inputs.pt")
        with torch.no_grad():
            expected[name] = model(*inputs)
    words = [sys.executable, "-I", "-W", "error", "-c", WITHOUT_BPTRAIN, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for name, outputs in expected.items():
        found = torch.load(tmp_path / name / "outputs.pt", weights_only=True)
        torch.testing.assert_close(found, outputs, rtol=1e-5, atol=1e-6, msg=name)


def graphs_without(name: str) -> list[Any]:
    """Return the cases whose graphs are made, and one slow: its network has no other operations."""
    return [pytest.param(each, marks=pytest.mark.slow) if each == name else each for each in GRAPHS]


@pytest.mark.parametrize("name", graphs_without("cnn"))
def test_a_graph_of_torch_export_takes_other_batches_and_lengths(name: str, tmp_path: Path) -> None:
    model, problem = model_of(name)
    path, inputs = tmp_path / "model.pt2", other_inputs(problem)
    path.write_bytes(as_exported_program(plain_model(model), problem))
    found = torch.export.load(path).module()(*inputs)
    torch.testing.assert_close(found, model(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", graphs_without("mlp"))
def test_onnxruntime_gives_the_outputs_of_other_batches_and_lengths(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model, problem = model_of(name)
    session = runtime.InferenceSession(as_onnx(plain_model(model), problem))
    inputs = other_inputs(problem)
    named = {each.name: x.numpy() for each, x in zip(session.get_inputs(), inputs, strict=True)}
    assert list(named) == ["input", "lengths"][: len(inputs)]
    [found] = session.run(None, named)
    torch.testing.assert_close(torch.from_numpy(found), model(*inputs), rtol=1e-5, atol=1e-5)


def test_onnx_without_its_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    model, problem = model_of("mlp")
    with pytest.raises(BptrainError, match="onnx") as refused:
        as_onnx(plain_model(model), problem)
    assert (refused.value.exit_code, "bptrain[export]" in refused.value.hint) == (2, True)


def test_safetensors_hold_the_weights_of_a_tied_model_twice() -> None:
    model, problem = model_of("language model")
    found = load(as_safetensors(plain_model(model), problem))
    assert found.keys() == model.state_dict().keys()
    assert torch.equal(found["output.weight"], found["embedding.weight"])


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_of_a_config_is_written_with_its_arguments(name: str) -> None:
    samples = {"Linear": (3, 4), "Embedding": (5, 4), "GroupNorm": (2, 4), "Unflatten": (1, (2, 2))}
    kind = getattr(nn, name)
    one = ("Upsample", "ReLU", "Dropout", "Flatten", "PReLU", "Softmax")
    given = samples.get(name, (4, 4, 3) if "Conv" in name else (4,))
    takes_one = "Norm" in name or "Pool" in name or name in ("PixelShuffle", "ZeroPad2d")
    if name not in samples and "Conv" not in name and not takes_one:
        given = (2,) if name in one[:1] else ()
    layer = kind(*given)
    written = eval(f"nn.{name}({', '.join(_arguments(layer))})", {"nn": nn, "inf": torch.inf})
    assert repr(written) == repr(layer)
    shapes = {key: value.shape for key, value in layer.state_dict().items()}
    assert {key: value.shape for key, value in written.state_dict().items()} == shapes


def test_outputs_that_differ_are_refused() -> None:
    model, problem = model_of("mlp")
    other = plain_model(model)
    other.get_parameter("output.bias").data += 0.01
    with pytest.raises(BptrainError, match=r"differ by 0\.01"):
        refuse_other_outputs(model, other, problem)


def test_the_command_writes_weights_code_and_what_to_do_around_them(
    bptrain: Callable, tmp_path: Path
) -> None:
    bptrain("fit", CONFIGS / "digits_mlp.yaml", "train.epochs=1", "--run-dir", "run")
    words = ("export", "run", "model.safetensors", "--code", "model.py")
    shown = bptrain(*words)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "linear1.weight" in load_file("model.safetensors")
    assert "bptrain." not in Path("model.py").read_text()
    around = json.loads(Path("model.safetensors.json").read_text())
    assert around["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]
    assert around["before"]["fitted"].keys() >= {"mean", "std"}
    names = [*"0123456789"]
    assert around["after"] == {"names": names, "probabilities": "softmax", "threshold": None}
    before = Path("model.py").read_bytes()
    refused = bptrain(*words)
    assert (refused.exit_code, "--force" in refused.stderr) == (2, True)
    assert Path("model.py").read_bytes() == before
    assert bptrain(*words, "--checkpoint", "last", "--force").exit_code == 0
    assert bptrain("export", "run", "model.bin").exit_code == 2
    assert bptrain("export", "run", "missing/model.pt").exit_code == 5
    assert not list(tmp_path.glob(".unfinished*"))
    assert exporting.FORMATS.keys() == {".safetensors", ".pt", ".pt2", ".onnx"}
