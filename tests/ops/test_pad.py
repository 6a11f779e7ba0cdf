"""What is true of padding beyond the table of cases."""

import pytest
import torch

from bptrain.ops import pad

COPIES = ["reflect", "replicate", "circular"]


@pytest.mark.parametrize("mode", ["constant", *COPIES])
def test_nothing_is_saved(mode: str) -> None:
    x = torch.randn(1, 2, 5, 5, requires_grad=True)
    assert pad(x, (1, 2, 3, 1), mode).grad_fn.saved_tensors == ()


@pytest.mark.parametrize("mode", COPIES)
def test_gradients_are_neither_lost_nor_made(mode: str) -> None:
    x = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    y = pad(x, (3, 1, 2, 4), mode)
    grad_y = torch.randn_like(y)
    y.backward(grad_y)
    torch.testing.assert_close(x.grad.sum((2, 3)), grad_y.sum((2, 3)))


@pytest.mark.parametrize("mode", COPIES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.channels_last_3d], ids=str)
def test_channels_last_stays_forward_and_backward(mode: str, layout: torch.memory_format) -> None:
    axes = 2 if layout == torch.channels_last else 3
    x = torch.randn(2, 3, *[5] * axes).to(memory_format=layout).requires_grad_()
    y = pad(x, (1, 2) * axes, mode)
    # y' is contiguous: x alone says how x' should lie; x.grad would be laid out anew
    (grad_x,) = torch.autograd.grad(y, x, torch.randn(y.shape))
    assert grad_x.is_contiguous(memory_format=layout)
    if mode == "circular":  # the other two are torch's kernels, without a 3-D layout of channels
        assert y.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("mode", ["constant", *COPIES])
def test_no_frame_shares_no_memory_with_the_input(mode: str) -> None:
    x = torch.randn(2, 2, 3)
    y = pad(x, (0, 0), mode)
    assert y.equal(x)
    assert y.data_ptr() != x.data_ptr()


def test_integers_can_be_padded() -> None:
    assert pad(torch.arange(3), (1, 2), value=7).tolist() == [7, 0, 1, 2, 7, 7]


def test_the_value_0_may_be_given_with_any_mode() -> None:
    x = torch.randn(2, 2, 3)
    assert pad(x, (1, 1), "reflect", 0.0).equal(pad(x, [1, 1], "reflect"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 1), "symmetric"), "'symmetric', expected one of constant, reflect"),
        (((1,), "constant"), "pad has 1 numbers"),
        (((0,) * 10, "constant"), "pad has 10 numbers, expected two for each of at most 4"),
        (((1, 1, 1, 1), "reflect", 2.0), "value is 2.0, expected none"),
        (((1, 1), "replicate"), "input has 4 axes and pad 2 numbers"),
        (((), "circular"), "pad 0 numbers"),
        (((1, 1) * 4, "reflect"), "pad 8 numbers"),
        (((0, 0, 4, 0), "reflect"), "too much for axis -2 of size 4"),
        (((0, 0, 0, 5), "circular"), "too much for axis -2 of size 4"),
        (((-1, 4, 0, 0), "circular"), "too much for axis -1 of size 4"),
        (((-3, -2), "constant"), "too much for axis -1 of size 4"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pad(torch.randn(1, 2, 4, 4), *arguments)


def test_an_axis_of_nothing_has_nothing_to_copy() -> None:
    with pytest.raises(ValueError, match="axis -1 of size 0"):
        pad(torch.randn(1, 2, 0), (1, 0), "replicate")


@pytest.mark.parametrize(("mode", "most"), [("reflect", 3), ("circular", 4), ("replicate", 9)])
def test_the_largest_frame_is_not_refused(mode: str, most: int) -> None:
    assert pad(torch.randn(1, 2, 4), (most, most), mode).shape == (1, 2, 4 + 2 * most)
