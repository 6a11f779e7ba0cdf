"""`bench`: its table, its files, its exit codes. No time is asserted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate
from kinds_of_data import KINDS, kinds_with_few_alike
from small_files import CONFIGS

from bptrain.bench import engines, gradient_methods, products, step
from bptrain.bench.engines import ByAutograd
from bptrain.commands import gradient_methods as command

SMALL = (CONFIGS / "digits_mlp.yaml", "model.hidden=[4]", "data.batch_size=8")
MEASURED = ("--turns", 3, "--no-compile")
NUMBER = {"type": "number", "exclusiveMinimum": 0}
SPREAD = {
    "type": "object",
    "properties": dict.fromkeys(("median", "low", "high"), NUMBER),
    "required": ["median", "low", "high"],
    "additionalProperties": False,
}
WRITTEN = {  # the keys that a reader of the file may rely on
    "name": {"const": "digits-mlp"},
    "machine": {"type": "string"},
    "device": {"const": "cpu"},
    "precision": {"const": "float32"},
    "parameters": {"const": 64 * 4 + 4 + 4 * 10 + 10},
    "batch": {"const": [[8, 1, 8, 8]]},
    "turns": {"const": 3},
    "steps_a_turn": {"type": "integer", "minimum": 1},
    "flops": {"type": "integer", "minimum": 1},
    "matmul_peak": NUMBER,
    "matmul_routes": {"type": "object", "additionalProperties": NUMBER, "required": ["torch"]},
    "memory_bandwidth": NUMBER,
    "floor": {"type": "object", "required": ["products_s", "optimizer_s"]},
    "alternatives": {
        "type": "array",
        "minItems": 2,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "is_ours": {"type": "boolean"},
                "step_s": SPREAD,
                "over_torch": SPREAD,
                "kept_bytes": {"type": "integer", "minimum": 1},
                "peak_bytes": {"type": "integer", "minimum": 1},
                "of_matmul_peak": NUMBER,
                "largest_difference": {"type": ["number", "null"]},
            },
            "additionalProperties": False,
        },
    },
    "ratios": {"type": "array", "minItems": 1},
    "operations": {"type": "array", "minItems": 3},
    "left_out": {"type": "object"},
}
SCHEMA = {
    "type": "object",
    "properties": WRITTEN,
    "required": [*WRITTEN],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def autograd_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure one engine of ours, whichever others there are, and for a short time."""
    monkeypatch.setattr(engines, "ENGINES", {"autograd": ByAutograd})
    monkeypatch.setattr(products, "PEAK_SIDE", {"cpu": 64})  # small probes, short turns
    monkeypatch.setattr(products, "COPIED_NUMBERS", 1024)
    monkeypatch.setattr(step, "TURN_S", 0.0)


def test_it_prints_a_table_of_80_columns_and_writes_json_and_a_chart(
    bptrain: Callable, tmp_path: Path
) -> None:
    result = bptrain("bench", *SMALL, *MEASURED, "--json", "out.json", "--chart", "out.svg")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "outputs and gradients: within" in result.stdout
    lines = result.stdout.splitlines()
    table = lines[1 : 2 + len(["torch.nn", "bptrain, autograd"])]
    assert max(map(len, table)) <= 80
    assert [line.split("  ")[0] for line in table[1:]] == ["torch.nn", "bptrain, autograd"]
    validate(json.loads((tmp_path / "out.json").read_text(encoding="utf-8")), SCHEMA)
    assert "</svg>" in (tmp_path / "out.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer={kind: lbfgs}"], "line search"),
        (["precision=fp16"], "fp32 and bf16"),
        (["--chart", "out.gif"], ".png"),
        (["--turns", "2"], "--turns"),
    ],
)
def test_what_cannot_be_measured_is_refused(bptrain: Callable, words: list[str], said: str) -> None:
    result = bptrain("bench", *SMALL, *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_that_cannot_be_written_is_refused_first(bptrain: Callable) -> None:
    result = bptrain("bench", *SMALL, "--json", "nowhere/out.json")
    assert result.exit_code == 5
    assert "no folder nowhere" in result.stderr
    assert result.stdout == ""


def test_a_wrong_gradient_has_the_exit_code_of_check(
    bptrain: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubled(ByAutograd):
        def __call__(self, *batch: Any) -> Any:
            super().__call__(*batch)
            return super().__call__(*batch)  # adds the gradients a second time

    monkeypatch.setitem(engines.ENGINES, "autograd", Doubled)
    result = bptrain("bench", *SMALL, *MEASURED)
    assert result.exit_code == 11
    assert "differ in the gradient of" in result.stderr


@pytest.mark.parametrize("name", kinds_with_few_alike())
def test_every_kind_of_data_is_measured(bptrain: Callable, tmp_path: Path, name: str) -> None:
    config, kind = tmp_path / "c.yaml", KINDS[name]
    kind.write()
    config.write_text(f"data: {{{kind.data}, batch_size: 8}}\nmodel: {kind.model}\n")
    result = bptrain("bench", config, *MEASURED)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["digits_cnn", "digits_muon", "digits_augmented"])
def test_other_models_and_optimizers_are_measured(bptrain: Callable, name: str) -> None:
    words = ("data.batch_size=8", "train.clip_grad_norm=1.0", "train.ema_decay=0.9", *MEASURED)
    result = bptrain("bench", CONFIGS / f"{name}.yaml", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines()[:5])) <= 80


def test_gradient_methods_are_compared_on_growing_networks(
    bptrain: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gradient_methods, "MEASURED_S", 0.0)
    monkeypatch.setattr(command, "WIDTHS", (0.25, 0.5, 1.0))
    words = ("--gradient-methods", "--json", "out.json", "--chart", "out.png")
    result = bptrain("bench", CONFIGS / "xor_mlp.yaml", "model.hidden=[4]", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "finite differences: time grows as P^" in result.stdout
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert len(written["sizes"]) == 3
    assert written["sizes"][-1]["parameters"] == written["parameters"]
    assert written["laws"].keys() == {"backward", "finite differences", "forward mode"}
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_that_is_too_large_for_finite_differences_is_refused(
    bptrain: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient_methods, "MOST_S", 0.0)
    result = bptrain("bench", *SMALL, "--gradient-methods")
    assert result.exit_code == 2
    assert "0 sizes" in result.stderr
