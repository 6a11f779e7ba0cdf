"""What is true of the maxima over windows beyond the table of cases."""

from itertools import product

import pytest
import torch

from bptrain.nn import MaxPool1d, MaxPool2d
from bptrain.ops import adaptive_max_pool2d, max_pool1d, max_pool2d


def test_the_indices_are_saved_and_the_input_is_not() -> None:
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    for y in (max_pool2d(x, 2), adaptive_max_pool2d(x, (2, 3))):
        (saved,) = y.grad_fn.saved_tensors
        assert (saved.shape, saved.dtype) == ((2, 3, 2, 3), torch.int64)


def test_indices_that_are_returned_share_the_memory_of_those_saved() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    y, indices = max_pool2d(x, 2, return_indices=True)
    (saved,) = y.grad_fn.saved_tensors
    assert saved.data_ptr() == indices.data_ptr()
    assert not indices.requires_grad


def test_the_winner_among_equals_gets_the_whole_gradient() -> None:
    x = torch.zeros(1, 1, 4, requires_grad=True)
    max_pool1d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[1, 0, 1, 0]]]


def test_a_winner_of_two_windows_gets_both_gradients() -> None:
    x = torch.tensor([[0.0, 5.0, 1.0]], requires_grad=True)
    max_pool1d(x, 2, stride=1).backward(torch.tensor([[2.0, 3.0]]))
    assert x.grad.tolist() == [[0, 5, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 0}, r"kernel_size is \[0, 0\], expected at least 1"),
        ({"kernel_size": (2, 2, 2)}, r"kernel_size is \[2, 2, 2\], expected one length or 2"),
        ({"kernel_size": 2, "stride": (1, 0)}, r"stride is \[1, 0\], expected at least 1"),
        ({"kernel_size": 2, "padding": -1}, r"padding is \[-1, -1\], expected at least 0"),
        ({"kernel_size": 2, "dilation": 0}, r"dilation is \[0, 0\], expected at least 1"),
        ({"kernel_size": 3, "padding": 2}, r"padding is \[2, 2\], expected at most half"),
        ({"kernel_size": 3, "padding": 2, "dilation": 2}, "expected at most half of kernel_size"),
        ({"kernel_size": 2, "dilation": 4}, r"extent \[5, 5\].* has no output"),
        ({"kernel_size": (5, 1), "ceil_mode": True, "stride": 1}, "has no output"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        max_pool2d(torch.zeros(1, 1, 4, 4), **options)


def test_padding_may_be_half_of_a_dilated_window() -> None:
    x = torch.randn(1, 1, 6, 6)
    options = {"kernel_size": 2, "padding": 1, "dilation": 2}
    # extent 3, half of it 1: torch accepts the same
    assert max_pool2d(x, **options).equal(torch.nn.functional.max_pool2d(x, **options))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        # torch's kernels take both; the second write to memory that is not theirs
        (MaxPool1d(2, 1, 1, 2), (1, 1, 1)),
        (MaxPool2d(3, 6, 1, 2, ceil_mode=True), (1, 1, 1, 9)),
        (MaxPool2d((1, 3), (1, 6), (0, 1), (1, 2), ceil_mode=True), (2, 3, 4, 1)),
    ],
    ids=str,
)
def test_a_window_that_reads_padding_alone_is_refused(
    module: torch.nn.Module, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="position -1 on that reads padding alone"):
        module(torch.zeros(shape))


def test_every_window_that_is_not_refused_reads_the_input() -> None:
    lengths = range(1, 5)
    for length, size, stride, dilation in product(lengths, lengths, lengths, lengths):
        for padding, ceil_mode in product(range(size // 2 + 1), (False, True)):
            try:
                _, k = max_pool1d(
                    torch.zeros(1, 1, length), size, stride, padding, dilation, ceil_mode, True
                )
            except ValueError as error:
                is_empty = "padding alone" in str(error)
                has_no_output = length + 2 * padding <= (size - 1) * dilation
                assert is_empty or has_no_output
            else:
                assert set(k.flatten().tolist()) <= set(range(length))


def test_ceil_mode_adds_a_window_that_is_cut_off() -> None:
    x = torch.randn(1, 1, 4, 4)
    options = {"kernel_size": 5, "stride": 2, "ceil_mode": True}
    assert max_pool2d(x, **options).equal(torch.nn.functional.max_pool2d(x, **options))


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 1, 4, 4), (1, 0, 4, 4), (1, 1, 4, 0)])
def test_an_input_that_is_no_plane_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\] or \[C, H, W\]"):
        max_pool2d(torch.zeros(shape), 1)
    with pytest.raises(ValueError, match="adaptive_max_pool2d"):
        adaptive_max_pool2d(torch.zeros(shape), 1)


def test_an_output_size_that_does_not_fit_is_refused() -> None:
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"output_size is \[2, 0\]"):
        adaptive_max_pool2d(x, (2, 0))
    with pytest.raises(ValueError, match="expected one length or 2"):
        adaptive_max_pool2d(x, (1, 2, 3))
