"""What is true of the learned slope beyond the table of cases."""

import pytest
import torch

from bptrain.ops import prelu
from bptrain.ops.prelu import FEW, Needs, Saved, backward, fused_backward


@pytest.mark.parametrize("weights", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_many_elements_get_the_gradients_of_the_formula(
    weights: int, layout: torch.memory_format
) -> None:
    x = torch.randn(8, 3, 16, 16, dtype=torch.float64).contiguous(memory_format=layout)
    assert x.numel() > FEW
    grad_y, w = torch.randn_like(x), torch.randn(weights, dtype=torch.float64)
    given = grad_y, Saved(x, w, w.shape), Needs(True, True)
    for ours, formula in zip(fused_backward(*given), backward(*given), strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-12, atol=1e-12)
        assert ours.stride() == formula.stride()


def test_a_gradient_that_is_not_needed_is_neither_computed_nor_saved_for() -> None:
    x, w = torch.randn(4, 5), torch.randn(5)
    (saved_x,) = prelu(x, w.clone().requires_grad_()).grad_fn.saved_tensors
    assert saved_x.data_ptr() == x.data_ptr()
    for needs in (Needs(True, False), Needs(False, True)):
        saved = Saved(x, w if needs.x else None, w.shape)
        for each_backward in (backward, fused_backward):
            found = each_backward(torch.randn(4, 5), saved, needs)
            assert [each is not None for each in found] == list(needs)


@pytest.mark.parametrize("shape", [(3,), (4, 1), (1, 1), (5, 1), (0,)])
def test_a_weight_that_fits_no_channel_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"weight has shape \[.*5 channels of input \[4, 5\]"):
        prelu(torch.ones(4, 5), torch.ones(shape))


def test_a_vector_has_no_channels() -> None:
    with pytest.raises(ValueError, match="1 channels"):
        prelu(torch.ones(5), torch.ones(5))
