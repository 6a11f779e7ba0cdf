"""A recurrent layer whose cell is compiled is the layer: every gradient, to rounding."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from networks import NETWORKS
from test_equal_gradients import trained
from torch import Tensor

from bptrain import nn
from bptrain.ops.bptt import backward, forward
from bptrain.ops.bptt_fused import fused_backward, fused_forward, gradients_by_step
from bptrain.ops.gru import GRU
from bptrain.ops.kernels import use_kernels
from bptrain.ops.lstm import LSTM
from bptrain.ops.rnn import RELU, TANH
from bptrain.ops.scan import Cell, Kernels, Needs, Scan
from bptrain.ops.time_steps import Steps
from bptrain.tape import Autograd, Step
from bptrain.tape.cell_code import CompiledEquations, code_of
from bptrain.tape.compiled_cells import Dtypes, Kinds, kernels_of, lines_of

CELLS = {"lstm": LSTM, "gru": GRU, "tanh": TANH, "relu": RELU}
DOUBLE = torch.float64
TOLERANCES = {DOUBLE: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.1}
UNDER_AUTOCAST = Dtypes(torch.bfloat16, torch.float32)  # of a cell whose state stays wide
T, N, IN, H = 5, 3, 4, 19  # H: whole vectors and a rest


def interpreted(
    equations: Any, kinds: Kinds, dtypes: Dtypes
) -> Callable[[int, Sequence[Tensor]], Any]:
    """Return equations as the compiled code runs them, a step at a time, by torch's functions."""

    def over(rows: int, tensors: Sequence[Tensor]) -> Callable[[int], None]:
        assert [each.dtype for each in tensors] == [getattr(dtypes, each) for each in kinds]

        computed = torch.promote_types(dtypes.states, torch.float32)

        def run(step: int) -> None:
            at = slice(step * rows, (step + 1) * rows)
            parts = [each[at] if each.dim() > 1 and len(each) > rows else each for each in tensors]
            wide = [each.to(computed) for each in parts]
            for place, result in zip(parts, equations(wide), strict=True):
                if result is not None:
                    place.copy_(result)

        return run

    return over


def by_torch(cell: Cell, dtypes: Dtypes) -> Kernels:
    return Kernels(*(interpreted(*each, dtypes) for each in lines_of(cell)))


def compare(
    cell: Cell,
    kernels: Kernels,
    dtypes: Dtypes,
    is_reverse: bool = False,
    has_bias: bool = True,
    steps: int = T,
) -> None:
    """Compare all that a scan returns, forward and backward, with the formula in float64."""
    torch.manual_seed(0)
    scan = Scan(cell, Steps((N,) * steps, is_reverse), (False, False)[: 1 + (cell is LSTM)])
    G, states = cell.gates * H, 1 + (cell is LSTM)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=DOUBLE).to(dtypes.products).to(DOUBLE)

    inputs = [normal(steps, N, IN), normal(G, IN), normal(G, H)]
    inputs += [normal(G), normal(G)] if has_bias else [None, None]
    inputs += [None, normal(N, H), normal(N, H) if states == 2 else None]
    upstream = [normal(steps, N, H), *(normal(N, H) for _ in range(states)), None][:3]
    needs = Needs(True, True, True, has_bias, has_bias, False, True, states == 2)
    expected, saved = forward(*inputs, scan, needs)
    expected_back = backward(*upstream, None, None, None, None, saved, needs)

    def cast(tensors: Sequence[Tensor | None], dtype: torch.dtype) -> list[Tensor | None]:
        return [None if each is None else each.to(dtype) for each in tensors]

    given = [*cast(inputs[:6], dtypes.products), *cast(inputs[6:], dtypes.states)]
    ours, saved = fused_forward(*given, scan._replace(kernels=kernels), needs)
    outputs = [None if each is None else each.clone() for each in ours[:4]]
    upstream = cast(upstream, dtypes.states)
    gradients_by_step(*upstream, saved)  # as an observer does: it changes nothing
    ours_back = fused_backward(*upstream, saved, needs)
    for one, other in zip([*outputs, *ours_back], [*expected[:4], *expected_back], strict=True):
        if one is None or other is None:
            assert one is other
        else:
            tolerance = TOLERANCES[dtypes.products]
            if dtypes.products == torch.bfloat16:  # rounding turns some units of relu on or off
                assert (one - other).norm() <= tolerance * other.norm()
                continue
            torch.testing.assert_close(one.to(DOUBLE), other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    "given", [{}, {"is_reverse": True}, {"has_bias": False}, {"steps": 1}], ids=str
)
def test_the_scan_by_kernels_is_the_formula(name: str, given: dict[str, Any]) -> None:
    has_wide_state = name in ("gru", "lstm")  # an LSTM cell's single step has one too
    for dtypes in (Dtypes(DOUBLE, DOUBLE), UNDER_AUTOCAST)[: 1 + has_wide_state]:
        compare(CELLS[name], by_torch(CELLS[name], dtypes), dtypes, **given)


WRITES = {
    "lstm": (6, 5),
    "gru": (5, 5),
    "tanh": (1, 1),
    "relu": (1, 1),
}  # numbers a unit


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_has_one_loop_that_writes_each_tensor_once(name: str) -> None:
    for (lines, kinds), writes in zip(lines_of(CELLS[name]), WRITES[name], strict=True):
        code = code_of(lines, [torch.float32] * len(kinds))
        assert code.count("for (int64_t x") == 1
        assert code.count("put(v") == writes


EACH = [(name, Dtypes(dtype, dtype)) for name in CELLS for dtype in TOLERANCES]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtypes"), [*EACH, ("gru", UNDER_AUTOCAST), ("lstm", UNDER_AUTOCAST)]
)
def test_the_compiled_cell_is_the_formula(name: str, dtypes: Dtypes) -> None:
    for given in ({}, {"is_reverse": True}, {"has_bias": False}, {"steps": 1}):
        compare(CELLS[name], kernels_of(CELLS[name], dtypes), dtypes, **given)


ODD = [float("nan"), torch.inf, -torch.inf, 0.0, 1e-30, 88.0, -88.0, 200.0, -200.0, 1e30]
NEAR = [0.6249, 0.6251, -0.625, 1e-4, 3.0, -3.0, 9.0, -9.0]


@pytest.mark.slow
@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_nonlinearities_are_exact_to_two_units_and_keep_nan(function: str) -> None:
    x = torch.tensor([*ODD, *NEAR, *torch.linspace(-20, 20, 1001).tolist()]).repeat(2, 1)
    y = torch.empty_like(x)
    code = CompiledEquations(lambda s: (None, getattr(s[0], function)()), [x.dtype] * 2)
    code.over(2, (x, y))(0)
    expected = getattr(x.to(DOUBLE), function)()
    torch.testing.assert_close(y.to(DOUBLE), expected, rtol=3e-7, atol=1e-37, equal_nan=True)


LAYERS = [name for name in NETWORKS if any(each in name for each in ("rnn", "lstm", "gru"))]
EQUAL = [name for name in LAYERS if "packed" not in name and "tagger" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUAL)
def test_a_compiled_step_trains_as_by_autograd(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    step = Step(network.model, network.loss, compiles=True)
    autograd = Autograd(deepcopy(network.model), deepcopy(network.loss))
    ours, reference = trained(step, network), trained(autograd, network)
    assert (step.reasons, step.not_compiled) == ([], [])
    for one, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Projected(torch.nn.Module):
    """An LSTM with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(3, 5, proj_size=2), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.last(self.lstm(x)[0])
        return output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rnn", "lstm, two layers", "gru, bidirectional"])
def test_cells_are_compiled_under_autocast(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    step = Step(network.model, network.loss, compiles=True)
    with torch.autocast("cpu", torch.bfloat16):
        step(network.inputs, *network.targets)
    assert (step.reasons, step.not_compiled) == ([], [])


@pytest.mark.parametrize("reason", ["projection", "float16", "formulas"])
def test_what_is_not_compiled_runs_and_says_why(reason: str) -> None:
    network = NETWORKS["gru, bidirectional" if reason == "float16" else "rnn"]()
    model, x, y, loss = network.model, network.inputs[0], network.targets[0], network.loss
    if reason == "projection":
        model, x, y, loss = Projected(), torch.randn(4, 2, 3), torch.randn(4, 2, 3), nn.MSELoss()
    step = Step(model, loss, compiles=True)
    kernels = "formula" if reason == "formulas" else "fused"
    with use_kernels(kernels), torch.autocast("cpu", torch.float16, reason == "float16"):
        step(x, y)
    assert len(step.not_compiled) == 1
    assert reason in step.not_compiled[0]
    assert step.reasons == []


def test_an_unknown_function_in_the_equations_is_refused() -> None:
    with pytest.raises(TypeError, match="no line in C"):
        code_of(lambda given: (torch.erf(given[0]),), [torch.float32])
