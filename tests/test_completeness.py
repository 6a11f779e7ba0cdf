"""Completeness: every operation has its derivation, cases, module and config."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import torch
from cases import MODULES, OPS

import bptrain
from bptrain import nn, ops
from bptrain.config import StrictConfig, load_config
from bptrain.data import DataConfig
from bptrain.data.augment import Transform
from bptrain.experiment.config import ExperimentConfig
from bptrain.losses import LossConfig
from bptrain.models import ModelConfig
from bptrain.optim import OptimizerConfig, ScheduleConfig

PACKAGE = Path(bptrain.__file__).parent
CONFIGS = sorted((PACKAGE.parent / "configs").glob("*.yaml"))
DERIVED = re.compile(r"^def (step_)?backward\(", re.MULTILINE)  # a step: of a recurrent cell
OP_FILES = [p for p in sorted((PACKAGE / "ops").glob("*.py")) if DERIVED.search(p.read_text())]
PARTS = {  # derivations that several operations share, offered through these
    "batch_norm_by_running": "evaluation by running statistics, through batch_norm",
    "batch_norm_over_processes": "training in several processes, through batch_norm",
    "append_token": "one more key and value, through attention's module",
    "bptt": "the scan over time, through rnn, lstm and gru",
    "cross_entropy_of_probabilities": "the other kind of target, through cross_entropy",
    "reorder": "the order of a PackedSequence, through their modules",
}
# which the tape puts in their parts' place
FUSED = {
    "batch_norm_relu",
    "linear_relu",
    "linear_cross_entropy",
    "conv_relu",
    "relu_dropout",
    "relu_max_pool",
}  # two operations in one, which the tape puts in their place
OPERATIONS = [path for path in OP_FILES if path.stem not in PARTS]
EQUATION = re.compile(r" {4}\w'(_.+)? +=")  # x' = or x'_ij = at the margin
HEADINGS = ["Shapes", "Forward", "Backward", "Saves", "Cost", "Source"]


def configs_of(union: object) -> list[type[StrictConfig]]:
    members = get_args(get_args(union)[0]) if get_args(union) else (union,)
    return list(members)


@pytest.mark.parametrize("path", OP_FILES, ids=lambda path: path.stem)
def test_an_op_file_derives_what_it_computes(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    starts = [line.split()[0] for line in docstring.splitlines() if line[:1].isalpha()]
    assert [start for start in starts if start in HEADINGS] == HEADINGS
    backward = docstring[docstring.index("Backward") : docstring.index("Saves")]
    equations = [line for line in backward.splitlines() if EQUATION.match(line)]
    assert equations
    assert backward.count("because") >= len(equations)


def first(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the parameter that torch names input, input1 or anchor."""
    return next(iter(tensors.values()))


def functions_of(path: Path) -> list[str]:
    """Return the public functions that an op file defines."""
    module = import_module(f"bptrain.ops.{path.stem}")
    return [n for n in ops.__all__ if inspect.getmodule(getattr(ops, n)) is module]


@pytest.mark.parametrize("path", OPERATIONS, ids=lambda path: path.stem)
def test_an_op_file_has_functions_in_the_list_and_a_module_of_its_stem(path: Path) -> None:
    assert functions_of(path)
    assert (PACKAGE / "nn" / path.name).exists() == (path.stem not in FUSED)


@pytest.mark.parametrize("name", ops.__all__)
def test_an_op_has_cases(name: str) -> None:
    cases = [case for case in OPS if case.op == name]
    assert len(cases) >= 4
    empty = [c for c in cases if first(c.draw(torch.float64, "cpu")).numel() == 0]
    assert empty or name in REFUSES_EMPTY


# operations for which torch refuses an empty batch, or fails in its backward pass
REFUSES_EMPTY = {"ctc_loss", "pixel_shuffle"}


def test_the_lists_are_whole() -> None:
    assert sorted(ops.__all__) == sorted(n for path in OP_FILES for n in functions_of(path))
    assert {case.op for case in OPS} == set(ops.__all__)
    assert {case.module for case in MODULES} == set(nn.__all__)


@pytest.mark.parametrize("name", ops.__all__)
def test_an_op_takes_the_arguments_of_torch_in_its_order(name: str) -> None:
    dispatcher = getattr(torch.nn.functional, name, None)  # of max_pool2d it says (*args, **kwargs)
    function = getattr(torch.nn.functional, f"{name}_with_indices", dispatcher)
    try:
        theirs = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return  # torch's own is in another module, or written in C without a signature
    ours = list(inspect.signature(getattr(ops, name)).parameters)
    assert ours == [p for p in theirs if p in ours]
    left_out = set(theirs) - set(ours)
    assert left_out <= {"size_average", "reduce", "_stacklevel", "dtype", "options"}


@pytest.mark.parametrize("module", [import_module(f"bptrain.ops.{p.stem}") for p in OPERATIONS])
def test_forward_and_backward_are_pure_functions(module: object) -> None:
    names = ("step", "step_backward") if hasattr(module, "step") else ("forward", "backward")
    for function in (getattr(module, name) for name in names):
        assert "ctx" not in inspect.signature(function).parameters


@pytest.mark.parametrize(
    "union", [DataConfig, ModelConfig, LossConfig, OptimizerConfig, ScheduleConfig]
)
def test_every_kind_has_a_config_that_uses_it(union: object) -> None:
    used = set()
    for path in CONFIGS:
        config = load_config(ExperimentConfig, path, [])
        used |= {type(getattr(config, name)) for name in type(config).model_fields}
    assert set(configs_of(union)) <= used


@pytest.mark.parametrize("union", [DataConfig, ModelConfig])
def test_the_readme_names_every_kind_beside_a_config(union: object) -> None:
    readme = (PACKAGE.parent / "README.md").read_text()
    linked = [row for row in readme.splitlines() if row.startswith("|") and "](configs/" in row]
    named = {name for row in linked for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert {config.model_fields["kind"].default for config in configs_of(union)} <= named
    assert set(re.findall(r"configs/(\w+\.yaml)", readme)) <= {path.name for path in CONFIGS}


@pytest.mark.parametrize(
    "section",
    [
        ExperimentConfig,
        *(
            c
            for u in (
                DataConfig,
                Transform,
                ModelConfig,
                LossConfig,
                OptimizerConfig,
                ScheduleConfig,
            )
            for c in configs_of(u)
        ),
    ],
    ids=lambda section: section.__name__,
)
def test_every_key_is_described(section: type[StrictConfig]) -> None:
    for name, field in section.model_fields.items():
        nested = name in ExperimentConfig.model_fields and section is ExperimentConfig
        assert name == "kind" or field.description or nested, f"{section.__name__}.{name}"
