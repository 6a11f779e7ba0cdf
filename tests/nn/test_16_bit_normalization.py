"""Normalizations in 16 bits under the compiler, which may infer other dtypes."""

import pytest
import torch

from bptrain import nn

MODULES = [
    nn.BatchNorm1d(4),
    nn.BatchNorm1d(4).eval(),
    nn.LayerNorm(3),
    nn.LayerNorm(3, elementwise_affine=False),
    nn.GroupNorm(2, 4),
    nn.InstanceNorm1d(4, affine=True),
    nn.RMSNorm(3),
    nn.LocalResponseNorm(2),
]


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_compiled_it_has_the_same_16_bit_gradients(module: torch.nn.Module) -> None:
    torch._dynamo.reset()
    module = module.bfloat16()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x, grad_y = torch.randn(2, 4, 3).bfloat16(), torch.randn(2, 4, 3).bfloat16()
    found = []
    for each in (module, compiled):
        leaf = x.clone().requires_grad_()
        found.append(torch.autograd.grad(each(leaf), [leaf, *module.parameters()], grad_y))
    for mine, theirs in zip(*found, strict=True):
        assert mine.dtype == theirs.dtype == torch.bfloat16
        torch.testing.assert_close(mine, theirs)
