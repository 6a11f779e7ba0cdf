"""What is true of the bilinear map beyond the table of cases."""

import pytest
import torch

from bptrain.ops import bilinear

X, Z, W = torch.randn(6, 2), torch.randn(6, 3), torch.randn(4, 2, 3)


def saved_by(output: torch.Tensor) -> list[tuple[int, ...]]:
    saved = [tensor for tensor in output.grad_fn.saved_tensors if tensor is not None]
    return [tuple(tensor.shape) for tensor in saved]


def test_only_what_the_needed_gradients_read_is_saved() -> None:
    assert saved_by(bilinear(X.clone().requires_grad_(), Z, W)) == [(6, 3), (4, 2, 3)]
    assert saved_by(bilinear(X, Z.clone().requires_grad_(), W)) == [(6, 2), (4, 2, 3)]
    assert saved_by(bilinear(X, Z, W.clone().requires_grad_())) == [(6, 2), (6, 3)]
    assert saved_by(bilinear(X, Z, W, torch.zeros(4, requires_grad=True))) == []


def test_one_tensor_as_both_inputs_accumulates_both_gradients() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    W = torch.randn(1, 3, 3, dtype=torch.float64)
    bilinear(x, x, W).sum().backward()
    torch.testing.assert_close(x.grad, x.detach() @ (W[0] + W[0].T))


def test_autocast_computes_in_the_widest_dtype_of_mixed_inputs() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert bilinear(X.bfloat16(), Z, W).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": W[0]}, "weight has 2 axes"),
        ({"input1": torch.tensor(1.0)}, "same axes before the last"),
        ({"input1": X[0], "input2": torch.tensor(1.0)}, "same axes before the last"),
        ({"input1": X[:1]}, r"\[1, 2\] and input2 \[6, 3\]"),
        ({"input1": Z}, "are 3 and 3, expected 2 and 3"),
        ({"input2": X}, "are 2 and 2, expected 2 and 3"),
        ({"bias": torch.randn(3)}, r"bias has shape \[3\], expected \[4\]"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bilinear(**{"input1": X, "input2": Z, "weight": W} | wrong)
