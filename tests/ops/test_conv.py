"""What is true of convolution beyond the table of cases."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bptrain.ops import conv1d, conv2d, conv3d, conv_transpose2d, linear
from bptrain.ops.kernels import use_kernels

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
    x, W, b = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 2, 2), torch.randn(4)
    leaves = {"x": x, "W": W, "b": b}
    for letter in needed:
        leaves[letter].requires_grad_()
    y = conv2d(x, W, b)
    with Masks() as recorded:
        y.backward(torch.randn_like(y))
    assert recorded.seen == masks


def test_only_what_the_needed_gradients_read_is_saved() -> None:
    x, W = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 2, 2)
    b = torch.randn(4, requires_grad=True)
    assert saved_by(conv2d(x, W.clone().requires_grad_())) == [(2, 3, 5, 5)]
    assert saved_by(conv2d(x.clone().requires_grad_(), W)) == [(4, 3, 2, 2)]
    assert saved_by(conv2d(x, W, b)) == []


def test_the_input_gradient_is_the_transposed_convolution_of_y_prime_with_the_weight() -> None:
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64, requires_grad=True)
    W = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    y = conv2d(x, W, stride=2, padding=1)
    grad_y = torch.randn_like(y)
    y.backward(grad_y)
    torch.testing.assert_close(x.grad, conv_transpose2d(grad_y, W, stride=2, padding=1))


def test_the_weight_gradient_is_the_correlation_of_x_with_y_prime() -> None:
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    W = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    y = conv2d(x, W, stride=2, padding=1, dilation=1)
    grad_y = torch.randn_like(y)
    y.backward(grad_y)
    # samples and channels are swapped, and so are stride and dilation
    grad_W = conv2d(x.transpose(0, 1), grad_y.transpose(0, 1), padding=1, dilation=2)
    torch.testing.assert_close(W.grad, grad_W.transpose(0, 1))


def test_a_1_x_1_kernel_is_a_linear_map_of_each_pixel() -> None:
    x, W, b = torch.randn(2, 3, 4, 5), torch.randn(6, 3, 1, 1), torch.randn(6)
    pixels = linear(x.movedim(1, -1), W.flatten(1), b).movedim(-1, 1)
    torch.testing.assert_close(conv2d(x, W, b), pixels)


@pytest.mark.parametrize("needed", ["both", "input alone"])
def test_channels_last_stays_through_the_backward_pass(needed: str) -> None:
    x = torch.randn(2, 8, 6, 6).to(memory_format=CHANNELS_LAST).requires_grad_()
    W = torch.randn(4, 8, 3, 3, requires_grad=needed == "both")
    y = conv2d(x, W, padding=1)
    assert y.is_contiguous(memory_format=CHANNELS_LAST)
    (grad_x,) = torch.autograd.grad(y, x, torch.randn_like(y))  # x.grad would be laid out as x is
    assert grad_x.is_contiguous(memory_format=CHANNELS_LAST)


def test_an_even_padding_makes_no_copy_of_the_input() -> None:
    x = torch.randn(1, 1, 6, 6)
    W = torch.randn(1, 1, 3, 5, requires_grad=True)
    y = conv2d(x, W, padding="same")
    assert y.grad_fn.saved_tensors[0].data_ptr() == x.data_ptr()


def test_one_number_serves_every_axis() -> None:
    x, W = torch.randn(1, 2, 7, 7), torch.randn(3, 2, 2, 2)
    whole = conv2d(x, W, stride=(2, 2), padding=(1, 1), dilation=(3, 3))
    assert conv2d(x, W, stride=2, padding=[1], dilation=(3,)).equal(whole)


RIGHT = {"input": torch.randn(2, 4, 5, 5), "weight": torch.randn(6, 2, 3, 3), "groups": 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": torch.randn(4, 5)}, "input has 2 axes"),
        ({"weight": torch.randn(6, 2, 3)}, "weight 3"),
        ({"input": torch.randn(2, 5, 5, 5)}, "input has 5 channels.* expects 4"),
        ({"groups": 4}, "groups is 4, expected a divisor of 6"),
        ({"groups": 0}, "groups is 0"),
        ({"bias": torch.randn(4)}, r"bias has shape \[4\], expected \[6\]"),
        ({"stride": 0}, "stride is 0, expected 2 numbers, each at least 1"),
        ({"stride": (1, 2, 3)}, r"stride is \(1, 2, 3\)"),
        ({"dilation": 0}, "dilation is 0"),
        ({"padding": -1}, "padding is -1"),
        ({"padding": "full"}, "'full', expected numbers, 'same' or 'valid'"),
        ({"padding": "same", "stride": (1, 2)}, r"'same' and stride \(1, 2\)"),
        ({"dilation": (1, 3)}, "5 elements, padding 0, is shorter than the kernel: 3"),
        ({"weight": torch.randn(6, 2, 8, 1), "padding": 1}, "shorter than the kernel"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv2d(**RIGHT | wrong)


def test_what_just_fits_is_not_refused() -> None:
    assert conv2d(torch.randn(1, 4, 5, 3), RIGHT["weight"], groups=2, dilation=(2, 1)).numel() == 6
    assert conv1d(torch.randn(1, 2), torch.randn(3, 1, 4), padding=1).shape == (3, 1)
    assert conv3d(torch.randn(1, 1, 1, 1), torch.ones(1, 1, 1, 1, 1), stride=9).shape == (1,) * 4


def test_the_formula_of_a_bfloat16_weight_gradient_is_right_for_8_planes_of_8_x_8() -> None:
    # oneDNN's convolution of 8 channels with a kernel of 8 columns, which this was, is not
    x, weight, upstream = torch.randn(8, 1, 8, 8), torch.randn(4, 1, 3, 3), torch.randn(8, 4, 8, 8)
    gradients = []
    for dtype in (torch.bfloat16, torch.float64):
        given = weight.bfloat16().to(dtype).requires_grad_()
        with use_kernels("formula"):
            y = conv2d(x.bfloat16().to(dtype), given, padding=1)
        y.backward(upstream.bfloat16().to(dtype))
        gradients.append(given.grad.double())
    torch.testing.assert_close(*gradients, rtol=0.01, atol=0.5)


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_a_weight_that_skips_pixels_is_right_with_few_channels_last(channels: int) -> None:
    # oneDNN's kernel of this gradient writes beyond its memory on CPUs without AVX-512
    x = torch.randn(6, channels, 8, 8).to(memory_format=torch.channels_last)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        weight = torch.ones(8, channels, 1, 1, dtype=dtype, requires_grad=True)
        conv2d(x.to(dtype), weight, stride=2).square().sum().backward()
        gradients.append(weight.grad.double())
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)
