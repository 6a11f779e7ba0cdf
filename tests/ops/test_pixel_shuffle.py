"""What is true of the pixel shuffle beyond the table of cases."""

import pytest
import torch

from bptrain.ops import pixel_shuffle


@pytest.mark.parametrize("shape", [(0, 4, 2, 2), (2, 0, 2, 2), (2, 4, 0, 3)])
def test_an_empty_input_has_an_empty_gradient(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    pixel_shuffle(x, 2).sum().backward()  # where torch's own backward pass fails
    assert x.grad.shape == shape


@pytest.mark.parametrize(("shape", "factor"), [((1, 6, 2, 2), 2), ((4, 4), 2), ((1, 4, 2, 2), 0)])
def test_channels_that_are_no_multiple_of_the_pixels_are_refused(
    shape: tuple[int, ...], factor: int
) -> None:
    with pytest.raises(ValueError, match=r"expected \[\.\.\., C r\^2, H, W\]"):
        pixel_shuffle(torch.zeros(shape), factor)
