"""What is true of resizing beyond the table of cases."""

from typing import Any

import pytest
import torch

from bptrain.ops import interpolate
from bptrain.ops.upsample import ANTIALIASED, KERNELS


def test_nothing_is_saved() -> None:
    x = torch.randn(1, 2, 3, 4, requires_grad=True)
    for mode in ("nearest", "bilinear", "bicubic"):
        assert interpolate(x, scale_factor=2, mode=mode).grad_fn.saved_tensors == ()


def test_a_constant_stays_what_it_is() -> None:
    x = torch.full((1, 1, 3, 4), 7.0)
    for mode in ("nearest", "bilinear", "bicubic"):
        torch.testing.assert_close(interpolate(x, (5, 9), mode=mode), torch.full((1, 1, 5, 9), 7.0))


@pytest.mark.parametrize("scale", [1.0, 2.0, 1.24])
@pytest.mark.parametrize(
    ("mode", "axes", "antialias"),
    [(*key, False) for key in KERNELS] + [(mode, 2, True) for mode in ANTIALIASED],
)
def test_an_axis_that_keeps_its_length_has_the_gradient_of_what_was_computed(
    mode: str, axes: int, antialias: bool, scale: float
) -> None:
    # 4 positions at scale 1.24 are 4 again: torch's own gradient is wrong for five of these kernels
    scales = (scale,) * (axes - 1) + (1.24,)
    x, v = torch.randn(2, 1, 2, *[4] * axes, dtype=torch.float64)
    x.requires_grad_()
    y, Jv = (interpolate(z, None, scales, mode, antialias=antialias) for z in (x, v))
    grad_y = torch.randn_like(y)
    y.backward(grad_y)
    torch.testing.assert_close((x.grad * v).sum(), (grad_y * Jv).sum())


@pytest.mark.parametrize("mode", ["area", "lanczos", "cubic"])
def test_a_mode_that_is_not_offered_is_named(mode: str) -> None:
    with pytest.raises(NotImplementedError, match=mode):
        interpolate(torch.zeros(1, 1, 2, 2), 4, mode=mode)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "size is None and scale_factor None"),
        ({"size": 2, "scale_factor": 2}, "expected one of them"),
        ({"size": (2, 2, 2)}, r"size is \[2, 2, 2\], expected one number or 2"),
        ({"scale_factor": (2.0,)}, r"scale_factor is \[2.0\], expected one number or 2"),
        ({"size": 2, "recompute_scale_factor": True}, "recompute_scale_factor with a size"),
        ({"size": 2, "align_corners": False}, "align_corners is False with mode 'nearest'"),
        ({"size": 2, "antialias": True}, "antialias with mode 'nearest'"),
        ({"size": 2, "mode": "trilinear"}, "which mode 'trilinear' cannot resize"),
        ({"scale_factor": 0.1}, r"resized to \[0, 0\]"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interpolate(torch.zeros(1, 1, 3, 3), **options)
