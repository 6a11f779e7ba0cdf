"""What is true of attention beyond the table of cases."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from bptrain import nn
from bptrain.ops import scaled_dot_product_attention
from bptrain.ops.attention import attention, backward, forward
from bptrain.ops.attention_fused import fits, fused_backward, fused_forward
from bptrain.ops.attention_scores import Needs, Options
from bptrain.ops.kernels import use_kernels
from bptrain.ops.operation import operations_behind

N, A, T, J, E = 2, 4, 3, 5, 8
ALL = Needs(True, True, True, False, False)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).double()


def qkv(key_heads: int = A, sizes: int = E) -> tuple[Tensor, Tensor, Tensor]:
    k = drawn(N, key_heads, J, E)
    return drawn(N, A, T, E), k, k.flip(0)[..., :sizes].contiguous()


SEEN = torch.tensor([[True, False, True, True, True], [False] * 5, [True] * 5])
PADDING = torch.tensor([[True] * 5, [True, True, True, False, False]]).view(N, 1, 1, J)


@pytest.mark.parametrize("key_heads", [A, 2, 1])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    "masks",
    [
        (None, None),
        (SEEN, None),
        (None, PADDING),
        (SEEN, PADDING),
        (drawn(T, J), PADDING),
        (drawn(N, A, T, J - 2), drawn(N, 1, 1, J - 1)),
    ],
    ids=["none", "bool", "padding", "both", "numbers and bool", "shorter than the keys"],
)
def test_the_kernel_computes_what_the_formula_does(
    masks: tuple[Tensor | None, Tensor | None], is_causal: bool, key_heads: int
) -> None:
    q, k, v = qkv(key_heads)
    options = Options(0.4, is_causal, 0.0, "none")
    (y, _), saved = forward(q, k, v, *masks, options, ALL)
    (fused_y, _), fused_saved = fused_forward(q, k, v, *masks, options, ALL)
    torch.testing.assert_close(fused_y, y, rtol=1e-12, atol=1e-12)

    grads = backward(drawn(*y.shape), None, saved, ALL)
    fused = fused_backward(drawn(*y.shape), None, fused_saved, ALL)
    assert grads[3:] == fused[3:] == (None, None)
    for mine, kernels in zip(grads[:3], fused[:3], strict=True):
        torch.testing.assert_close(kernels, mine, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("kernels", "sizes", "by_kernel"),
    [("fused", E, True), ("formula", E, False), ("fused", E - 2, False)],
)
def test_the_formula_runs_where_it_is_chosen_and_where_no_kernel_fits(
    kernels: str, sizes: int, by_kernel: bool
) -> None:
    saved = []
    with (
        use_kernels(kernels),
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t),
    ):
        y = scaled_dot_product_attention(*(x.requires_grad_() for x in qkv(sizes=sizes)))
    assert ((N, A, T, 1) in [each.shape for each in saved]) != by_kernel  # m and s
    assert any(operation.has_kernel for operation in operations_behind([y])) == (sizes == E)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)], ids=["by head", "by token"])
def test_a_graph_without_writing_in_place_lays_its_results_out_alike(
    order: tuple[int, ...],
) -> None:
    back = [order.index(axis) for axis in range(4)]
    given = [each.permute(order).contiguous().permute(back) for each in qkv()]
    strides: list[list[tuple[int, ...]]] = []

    def run(*tensors: Tensor) -> Tensor:
        (y, _), saved = fused_forward(*tensors, None, None, Options(0.5, False, 0.0, "none"), ALL)
        strides.append([each.stride() for each in (y, saved.y, saved.log_s)])
        return y

    y = run(*given)
    with FakeTensorMode() as mode:
        graph = make_fx(functionalize(run))(*[mode.from_tensor(each) for each in given])
    assert torch.equal(graph(*given), y)
    assert strides[1:] == strides[:1]
    assert graph(*given).stride() == y.stride()


def test_the_kernel_for_cuda_takes_what_it_is_handed_and_returns_its_shapes() -> None:
    with FakeTensorMode():
        q, k, v = (torch.empty(N, A, s, E, device="cuda", dtype=torch.half) for s in (T, J, J))
        assert fits(q, k, v, (None, None), 0.1)
        options = Options(0.4, True, 0.1, "none")
        (y, _), saved = fused_forward(q, k, v, None, None, options, ALL)
        assert (y.shape, y.dtype) == (q.shape, q.dtype)
        grads = fused_backward(y, None, saved, ALL)
        assert [(g.shape, g.dtype) for g in grads[:3]] == [(x.shape, x.dtype) for x in (q, k, v)]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [({}, E), ({}, E - 2), ({"dropout_p": 0.2}, E), ({"is_causal": True}, E - 2)],
    ids=["fused", "plain", "dropout", "causal"],
)
def test_no_matrix_of_queries_by_keys_is_saved(options: dict[str, Any], sizes: int) -> None:
    q, k, v = (x.requires_grad_() for x in qkv(sizes=sizes))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        scaled_dot_product_attention(q, k, v, **options)
    matrices = [tensor for tensor in saved if tensor.shape[-2:] == (T, J)]
    assert [each.element_size() for each in matrices] == [1] * ("dropout_p" in options)


def test_each_row_of_a_learned_masks_gradient_sums_to_zero() -> None:
    mask = drawn(T, J).requires_grad_()
    y = scaled_dot_product_attention(*qkv(), mask)
    y.backward(drawn(*y.shape))
    torch.testing.assert_close(mask.grad.sum(-1), torch.zeros(T).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("returned", ["each", "mean"])
def test_the_gradient_flows_through_the_weights_alone(returned: str) -> None:
    inputs = [x.requires_grad_() for x in qkv()]
    _, weights = attention(*inputs, None, None, Options(0.4, False, 0.0, returned))
    q, k, v = inputs
    theirs = (q @ k.mT * 0.4).softmax(-1)
    theirs = theirs.mean(1) if returned == "mean" else theirs
    upstream = drawn(*theirs.shape)
    mine = torch.autograd.grad(weights, [q, k, v], upstream, allow_unused=True)
    assert mine[2] is None  # v' would be zeros, the work of a whole product
    for ours, torchs in zip(mine, torch.autograd.grad(theirs, [q, k], upstream), strict=False):
        torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_sample_that_is_all_padding_gives_zeros_and_finite_gradients(need_weights: bool) -> None:
    module = nn.MultiheadAttention(E, 2, batch_first=True).double()
    x = drawn(N, T, E).requires_grad_()
    padding = torch.tensor([[True] * T, [False] * T])
    y, weights = module(x, x, x, padding, need_weights)
    assert (y[0] == module.out_proj.bias).all()
    assert weights is None or not weights[0].any()
    y.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_the_causal_promise_changes_the_kernel_and_no_number() -> None:
    module = nn.MultiheadAttention(E, 2, add_zero_attn=True).double()
    x, after = drawn(T, N, E), torch.ones(T, T, dtype=torch.bool).triu(1)
    for need_weights in (False, True):
        promised, _ = module(x, x, x, None, need_weights, after, is_causal=True)
        masked, _ = module(x, x, x, None, need_weights, after)
        torch.testing.assert_close(promised, masked)


def test_masks_of_both_kinds_may_be_mixed() -> None:
    module = nn.MultiheadAttention(E, 2).double()
    x, numbers = drawn(T, N, E), drawn(T, T)
    hidden = torch.tensor([[False, False, True], [False] * 3])
    as_numbers = torch.zeros(N, T).double().masked_fill(hidden, -torch.inf)
    torch.testing.assert_close(
        module(x, x, x, hidden, attn_mask=numbers), module(x, x, x, as_numbers, attn_mask=numbers)
    )


@pytest.mark.parametrize("same", [True, False])
def test_self_attention_projects_by_one_product(same: bool) -> None:
    module = nn.MultiheadAttention(E, 2)
    x = torch.randn(T, N, E)
    output, _ = module(x, x if same else x.clone(), x, need_weights=False)
    names, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names |= {node} if "Linear" in node.name() else set()
            waiting += [following for following, _ in node.next_functions]
    assert len(names) == (2 if same else 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"query": drawn(E)}, r"at least \[T, E\]"),
        ({"key": drawn(N, A, J, E - 1)}, r"\[\.\.\., J, E\]"),
        ({"value": drawn(N, A, J + 1, E)}, r"\[\.\.\., J, F\]"),
        ({"key": drawn(N, 2, J, E)}, "do not broadcast"),
        ({"key": drawn(N, A, J, E).float()}, "dtypes"),
        ({"enable_gqa": True, "key": drawn(N, 2, J, E)}, "heads"),
        ({"enable_gqa": True, "key": drawn(N, 3, J, E), "value": drawn(N, 3, J, E)}, "heads"),
        ({"enable_gqa": True, "query": drawn(T, E)}, r"\[A, T, E\]"),
        ({"attn_mask": SEEN, "is_causal": True}, "expected one of them"),
        ({"attn_mask": drawn(T, J).half()}, "float16"),
        ({"attn_mask": SEEN[:, :2]}, r"\[3, 2\]"),
        ({"attn_mask": drawn(1, 1, 1, T, J)}, "broadcasts to"),
        ({"dropout_p": 1.5}, "1.5"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    right = dict(zip(("query", "key", "value"), qkv(), strict=True))
    with pytest.raises(ValueError, match=message):
        scaled_dot_product_attention(**right | wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"query": torch.zeros(T, N, E + 1)}, "query, key and value"),
        ({"key": torch.zeros(J + 1, N, E)}, "query, key and value"),
        ({"query": torch.zeros(T, E)}, "query, key and value"),
        ({"query": torch.zeros(T, N + 1, E)}, "query, key and value"),
        ({"key_padding_mask": torch.zeros(J, N)}, r"expected \[2, 5\]"),
        ({"attn_mask": torch.zeros(J, T)}, r"expected \[3, 5\] or \[4, 3, 5\]"),
        ({"attn_mask": torch.zeros(T, J, dtype=torch.int64)}, "int64"),
        ({"is_causal": True}, "none is given"),
    ],
)
def test_wrong_arguments_of_the_module_are_refused(wrong: dict[str, Any], message: str) -> None:
    memory = torch.zeros(J, N, E)
    right = {"query": torch.zeros(T, N, E), "key": memory, "value": memory}
    with pytest.raises(ValueError, match=message):
        nn.MultiheadAttention(E, 2)(**right | wrong)
