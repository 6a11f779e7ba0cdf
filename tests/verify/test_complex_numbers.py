"""Complex numbers: right, with the conjugates that torch's gradients have, or refused."""

import pytest
import torch
from cases import OPS
from cases.case import OpCase
from torch import Tensor

from bptrain import ops

TAKEN = {"flatten": {"start_dim": 1}, "pixel_shuffle": {"upscale_factor": 2}}  # these only reorder
IDENTITIES = {"dropout", "dropout1d", "dropout2d", "alpha_dropout"}  # with p = 0 or in evaluation
FIRST = list({case.op: case for case in reversed(OPS)}.values())


@pytest.mark.parametrize(
    "case",
    [case for case in FIRST if case.op not in TAKEN.keys() | IDENTITIES],
    ids=lambda case: case.op,
)
def test_what_would_lack_a_conjugate_refuses_complex_numbers(case: OpCase) -> None:
    tensors = case.draw(torch.float64, "cpu")
    given = {
        name: tensor.to(torch.complex128) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    with pytest.raises(ValueError, match=r"expected (real numbers|one of floating point)"):
        case.ours(given)


@pytest.mark.parametrize("op", sorted(IDENTITIES))
def test_dropout_refuses_complex_numbers(op: str) -> None:
    with pytest.raises(ValueError, match="expected real numbers"):
        getattr(ops, op)(torch.ones(2, 3, 4, dtype=torch.complex64), 0.5, training=True)


@pytest.mark.parametrize("op", sorted(TAKEN))
def test_what_only_reorders_takes_complex_numbers(op: str) -> None:
    x = torch.randn(2, 4, 2, 2, dtype=torch.complex128, requires_grad=True)

    def gradient(y: Tensor) -> Tensor:
        torch.manual_seed(0)
        return torch.autograd.grad(y, x, torch.randn_like(y))[0]

    ours = gradient(getattr(ops, op)(x, **TAKEN[op]))
    reference = {"flatten": torch.flatten, "pixel_shuffle": torch.pixel_shuffle}[op]
    torch.testing.assert_close(ours, gradient(reference(x, **TAKEN[op])))


def test_in_place_complex_numbers_are_refused_too() -> None:
    with pytest.raises(ValueError, match=r"silu has a torch.complex64 input"):
        ops.silu(torch.ones(2, dtype=torch.complex64), inplace=True)
