"""What is true of the scan over time beyond the table of cases."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from bptrain.ops import gru, lstm, rnn_tanh
from bptrain.ops.bptt import backward, forward, fused_or_formula_backward
from bptrain.ops.bptt_fused import fused_forward
from bptrain.ops.bptt_kernels import write_product
from bptrain.ops.gru import GRU
from bptrain.ops.kernels import use_kernels
from bptrain.ops.lstm import LSTM
from bptrain.ops.rnn import RELU, TANH
from bptrain.ops.scan import Cell, Needs, Scan
from bptrain.ops.time_steps import Steps

N, IN, H = 2, 3, 4


def parameters(gates: int, features: int = IN) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(gates * H, features), (gates * H, H), (gates * H,), (gates * H,)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def run(op, gates: int, x: Tensor, **options) -> tuple[Tensor, ...]:
    return op(x, None, parameters(gates), True, 1, 0.0, True, False, **options)


def inputs_of(cell: Cell, steps: Steps, P: int) -> tuple[object, ...]:
    """Return random inputs of a scan; h has P features, by a projection if P is not H."""
    torch.manual_seed(0)
    rows, count = cell.gates * H, steps.sizes[0]
    shapes = [(steps.rows, IN), (rows, IN), (rows, P), (rows,), (rows,), (P, H), (count, P)]
    x, W_ih, W_hh, b_ih, b_hh, W_hr, h_0 = (torch.randn(s, dtype=torch.float64) for s in shapes)
    c_0 = torch.randn(count, H, dtype=torch.float64) if cell is LSTM else None
    stays_wide = (False,) * (1 + (cell is LSTM))
    projection = None if P == H else W_hr
    return x, W_ih, W_hh, b_ih, b_hh, projection, h_0, c_0, Scan(cell, steps, stays_wide)


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 2, 2, 1), (2,)], ids=["equal", "ragged", "one"])
@pytest.mark.parametrize("is_reverse", [False, True])
@pytest.mark.parametrize(
    ("cell", "P"),
    [(TANH, H), (RELU, H), (GRU, H), (LSTM, H), (LSTM, H - 1)],
    ids=["tanh", "relu", "gru", "lstm", "projected"],
)
def test_the_steps_in_place_equal_the_written_out_ones(
    cell: Cell, P: int, is_reverse: bool, sizes: tuple[int, ...]
) -> None:
    inputs = inputs_of(cell, Steps(sizes, is_reverse), P)
    needs = Needs(*[each is not None for each in inputs[:-1]])
    found = []
    for run_forward, run_backward in (
        (forward, backward),
        (fused_forward, fused_or_formula_backward),
    ):
        outputs, saved = run_forward(*inputs, needs)
        torch.manual_seed(1)
        y_and_last = [None if each is None else torch.randn_like(each) for each in outputs[:3]]
        grads = [*y_and_last, *[None] * len(outputs[3:])]  # of what is saved: second derivatives
        found.append([*outputs, *saved[:-1], *run_backward(*grads, saved, needs)])
    for written_out, in_place in zip(*found, strict=True):
        if written_out is None:
            assert in_place is None
        else:
            torch.testing.assert_close(in_place, written_out, rtol=1e-11, atol=1e-12)
    assert [each is not None for each in found[0][-8:]] == list(needs)


class Calls(TorchDispatchMode):
    """Counts the operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count[function.overloadpacket.__name__] += 1
        return function(*arguments, **(options or {}))


def calls(op, gates: int, steps: int) -> Counter[str]:
    x = torch.randn(steps, N, IN, dtype=torch.float64, requires_grad=True)
    with Calls() as seen:
        run(op, gates, x)[0].sum().backward()
    return seen.count


@pytest.mark.parametrize(("op", "gates"), [(rnn_tanh, 1), (lstm, 4), (gru, 3)])
def test_only_the_product_with_the_last_state_stands_in_the_scan(op, gates: int) -> None:
    short, long = calls(op, gates, 10), calls(op, gates, 30)
    assert long["mm"] == short["mm"]  # x', W'_ih and W'_hh of all steps at once
    assert long["addmm_"] - short["addmm_"] == 2 * 20  # one each way for each further step
    assert not {name for name in long if "cat" in name or "stack" in name}


@pytest.mark.parametrize(("op", "gates", "made"), [(rnn_tanh, 1, 0), (lstm, 4, 1), (gru, 3, 0)])
def test_no_step_makes_a_tensor_but_tanh_c(op, gates: int, made: int) -> None:
    short, long = calls(op, gates, 10), calls(op, gates, 30)
    inplace_or_view = {"addmm_", "add_", "mul_", "mul", "addcmul_", "sigmoid_", "tanh_", "lerp"}
    inplace_or_view |= {"tanh_backward", "unsqueeze"}
    further = {name for name in long if long[name] > short[name]}
    assert further - inplace_or_view == {"tanh"} - ({"tanh"} if op is gru else set())
    assert op is not lstm or long["tanh"] - short["tanh"] == made * 20


def test_one_node_of_the_graph_stands_for_a_layer_in_one_direction() -> None:
    x = torch.randn(50, N, IN, dtype=torch.float64)
    first = parameters(1) + parameters(1)
    second = parameters(1, 2 * H) + parameters(1, 2 * H)
    y, _ = rnn_tanh(x, None, first + second, True, 2, 0.0, True, True)
    names, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and "Bptt" in node.name():
            names.add(node)
        waiting += [] if node is None else [following for following, _ in node.next_functions]
    assert len(names) == 4


@pytest.mark.parametrize(("op", "gates"), [(rnn_tanh, 1), (lstm, 4), (gru, 3)])
@pytest.mark.parametrize("both_ways", [False, True])
def test_packed_sequences_give_what_each_gives_alone(op, gates: int, both_ways: bool) -> None:
    lengths = [5, 5, 3, 1]
    sequences = [torch.randn(n, IN, dtype=torch.float64, requires_grad=True) for n in lengths]
    params = parameters(gates) * (1 + both_ways)
    packed = torch.nn.utils.rnn.pack_sequence(sequences)
    arguments = (None, params, True, 1, 0.0, True, both_ways)
    data, *last = op(packed.data, *arguments, batch_sizes=packed.batch_sizes)
    upstream = torch.randn_like(data)
    together = torch.autograd.grad((data * upstream).sum() + sum(s.sum() for s in last), sequences)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(packed._replace(data=upstream))
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed._replace(data=data))
    for n, (sequence, gradient) in enumerate(zip(sequences, together, strict=True)):
        y, *alone = op(sequence.unsqueeze(1), *arguments)
        loss = (y[:, 0] * padded[: lengths[n], n]).sum() + sum(s.sum() for s in alone)
        torch.testing.assert_close(torch.autograd.grad(loss, sequence)[0], gradient)
        torch.testing.assert_close(y[:, 0], outputs[: lengths[n], n])


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_an_output_that_a_gradient_reads_is_not_to_be_changed(kernels: str) -> None:
    with use_kernels(kernels):
        y, _ = run(rnn_tanh, 1, torch.randn(3, N, IN, dtype=torch.float64))
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("kernels", ["fused", "formula"])
def test_an_output_that_no_gradient_reads_may_be_changed(kernels: str) -> None:
    x = torch.randn(3, N, IN, dtype=torch.float64, requires_grad=True)
    frozen = [each.detach() for each in parameters(4)]
    with use_kernels(kernels):
        y, *_ = lstm(x, None, frozen, True, 1, 0.0, True, False)
    (expected,) = torch.autograd.grad(2 * y.sum(), x, retain_graph=True)
    y.mul_(2)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], expected)


def test_a_retained_graph_can_be_differentiated_twice() -> None:
    x = torch.randn(3, N, IN, dtype=torch.float64, requires_grad=True)
    y, *_ = run(lstm, 4, x)
    first, second = (torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert first.equal(second)


def test_the_rows_before_each_step_are_a_view_where_all_lengths_are_equal() -> None:
    for is_reverse in (False, True):
        steps = Steps((2, 2, 2), is_reverse)
        states = steps.with_start(torch.zeros(2, 1))
        assert steps.before(states).data_ptr() == states[2 * is_reverse :].data_ptr()


def test_the_rows_before_each_step_of_ragged_sequences_are_their_own() -> None:
    after = torch.arange(1.0, 7.0).unsqueeze(1)  # steps 0, 1, 2 of 3, 2, 1 sequences
    start = torch.tensor([[10.0], [20.0], [30.0]])
    found = {}
    for is_reverse in (False, True):
        steps = Steps((3, 2, 1), is_reverse)
        states = steps.with_start(start)
        steps.after(states).copy_(after)
        found[is_reverse] = steps.before(states).flatten().tolist(), steps.last(states).flatten()
    assert found[False][0] == [10, 20, 30, 1, 2, 4]
    assert found[False][1].tolist() == [6, 5, 3]
    assert found[True][0] == [4, 5, 30, 6, 20, 10]
    assert found[True][1].tolist() == [1, 2, 3]


def test_a_product_is_written_over_nan_and_traced_without_what_is_there() -> None:
    a, b = torch.ones(1, 3), torch.ones(3, 2)

    def written(a: Tensor, b: Tensor) -> Tensor:
        out = a.new_full((1, 2), torch.nan)
        write_product(out, a, b)
        return out

    torch.testing.assert_close(written(a, b), torch.full((1, 2), 3.0))
    targets = {str(node.target) for node in make_fx(written)(a, b).graph.nodes}
    assert "aten.copy_.default" in targets  # not addmm_: compiled code multiplies a NaN by beta = 0
    assert not any("addmm" in each for each in targets)
