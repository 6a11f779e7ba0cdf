"""What is true of transposed convolution beyond the table of cases."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bptrain.nn import ConvTranspose2d
from bptrain.ops import conv2d, conv_transpose1d, conv_transpose2d

CHANNELS_LAST = torch.channels_last


def saved_by(output: torch.Tensor) -> list[tuple[int, ...]]:
    saved = [tensor for tensor in output.grad_fn.saved_tensors if tensor is not None]
    return [tuple(tensor.shape) for tensor in saved]


class Masks(TorchDispatchMode):
    """Records which gradients each call of the backward kernel is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, ...]] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        if function is torch.ops.aten.convolution_backward.default:
            self.seen.append(tuple(arguments[-1]))
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize(
    ("needed", "masks"),
    [
        ("xWb", [(True, False, False), (False, True, True)]),
        ("xW", [(True, False, False), (False, True, False)]),
        ("Wb", [(False, True, True)]),
        ("W", [(False, True, False)]),
        ("x", []),
        ("b", []),
    ],
)
def test_the_kernel_computes_each_needed_gradient_once_and_no_other(
    needed: str, masks: list[tuple[bool, ...]]
) -> None:
    x, W, b = torch.randn(2, 3, 5, 5), torch.randn(3, 4, 2, 2), torch.randn(4)
    leaves = {"x": x, "W": W, "b": b}
    for letter in needed:
        leaves[letter].requires_grad_()
    y = conv_transpose2d(x, W, b)
    with Masks() as recorded:
        y.backward(torch.randn_like(y))
    assert recorded.seen == masks


def test_only_what_the_needed_gradients_read_is_saved() -> None:
    x, W = torch.randn(2, 3, 5, 5), torch.randn(3, 4, 2, 2)
    b = torch.randn(4, requires_grad=True)
    assert saved_by(conv_transpose2d(x, W.clone().requires_grad_())) == [(2, 3, 5, 5)]
    assert saved_by(conv_transpose2d(x.clone().requires_grad_(), W)) == [(3, 4, 2, 2)]
    assert saved_by(conv_transpose2d(x, W, b)) == []


def test_it_is_the_transpose_of_convolution() -> None:
    # <conv(u), v> = <u, conv_transpose(v)> for all u and v is what transposed means
    W = torch.randn(3, 2, 3, 2, dtype=torch.float64)
    u = torch.randn(1, 2, 8, 7, dtype=torch.float64)
    forth = conv2d(u, W, stride=(2, 3), padding=1)
    v = torch.randn_like(forth)
    back = conv_transpose2d(v, W, stride=(2, 3), padding=1, output_padding=(1, 1))
    torch.testing.assert_close((forth * v).sum(), (u * back).sum())


@pytest.mark.parametrize("needed", ["both", "input alone"])
def test_channels_last_stays_through_the_backward_pass(needed: str) -> None:
    x = torch.randn(2, 8, 6, 6).to(memory_format=CHANNELS_LAST).requires_grad_()
    W = torch.randn(8, 4, 3, 3, requires_grad=needed == "both")
    y = conv_transpose2d(x, W, stride=2)
    assert y.is_contiguous(memory_format=CHANNELS_LAST)
    (grad_x,) = torch.autograd.grad(y, x, torch.randn_like(y))  # x.grad would be laid out as x is
    assert grad_x.is_contiguous(memory_format=CHANNELS_LAST)


RIGHT = {"input": torch.randn(2, 4, 3, 3), "weight": torch.randn(4, 3, 2, 2), "groups": 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": torch.randn(4, 3)}, "input has 2 axes"),
        ({"weight": torch.randn(4, 3, 2)}, "weight 3"),
        ({"input": torch.randn(2, 6, 3, 3)}, "input has 6 channels.* expects 4"),
        ({"groups": 3}, "groups is 3, expected a divisor of 4"),
        ({"bias": torch.randn(3)}, r"bias has shape \[3\], expected \[6\]"),
        ({"stride": (2, 0)}, r"stride is \(2, 0\)"),
        ({"dilation": 0}, "dilation is 0"),
        ({"padding": -1}, "padding is -1"),
        ({"output_padding": -1}, "output_padding is -1"),
        ({"output_padding": (0, 2), "stride": 2}, "2, expected less than stride 2 or dilation 1"),
        ({"output_padding": 3, "dilation": 3}, "3, expected less than stride 1 or dilation 3"),
        ({"padding": 2}, "padding is 2: it cuts off all"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv_transpose2d(**RIGHT | wrong)


def test_what_just_fits_is_not_refused() -> None:
    assert conv_transpose1d(torch.randn(1, 2), torch.randn(1, 1, 2), padding=1).shape == (1, 1)


def test_an_output_size_out_of_reach_is_refused() -> None:
    module = ConvTranspose2d(1, 1, 3, stride=2)
    with pytest.raises(ValueError, match="valid sizes range from"):
        module(torch.randn(1, 1, 4, 4), output_size=(9, 11))
