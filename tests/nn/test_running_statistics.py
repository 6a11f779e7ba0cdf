"""Modules that normalize by batch or instance, beyond the table: statistics over several calls."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bptrain import nn

KINDS = [
    ("BatchNorm1d", {}, (4, 3)),
    ("BatchNorm1d", {"momentum": None}, (4, 3)),
    ("BatchNorm2d", {"momentum": None, "affine": False}, (2, 3, 2, 2)),
    ("BatchNorm3d", {"momentum": 0.4}, (2, 3, 1, 2, 2)),
    ("InstanceNorm1d", {"track_running_stats": True, "momentum": 0.4}, (2, 3, 4)),
    ("InstanceNorm2d", {"track_running_stats": True, "affine": True}, (2, 3, 2, 2)),
]
every_kind = pytest.mark.parametrize(("name", "options", "shape"), KINDS)


def batches(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64) * spread + spread
        for spread in (1, 3, 0.2)
    ]


def assert_same_buffers(ours: torch.nn.Module, reference: torch.nn.Module) -> None:
    mine, theirs = dict(ours.named_buffers()), dict(reference.named_buffers())
    assert mine.keys() == theirs.keys()
    for name, buffer in theirs.items():
        torch.testing.assert_close(mine[name], buffer, rtol=1e-12, atol=1e-12)


@every_kind
def test_after_each_of_three_batches_they_are_torchs(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    ours, reference = (getattr(kind, name)(3, **options).double() for kind in (nn, torch.nn))
    for batch in batches(*shape):
        ours(batch)
        reference(batch)
        assert_same_buffers(ours, reference)
    probe = batches(*shape)[0]
    torch.testing.assert_close(ours.eval()(probe), reference.eval()(probe), rtol=1e-12, atol=1e-12)
    assert_same_buffers(ours, reference)


def compiled_kinds() -> Iterator[Any]:
    """Yield the kinds as parameters: more axes, which the compiler meets alike, are slow."""
    for kind in KINDS:
        yield pytest.param(*kind, marks=() if kind[0].endswith("1d") else pytest.mark.slow)


@pytest.mark.parametrize(("name", "options", "shape"), list(compiled_kinds()))
def test_compiled_they_are_the_same(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    torch._dynamo.reset()
    eager, module = (getattr(nn, name)(3, **options).double() for _ in range(2))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    for batch in batches(*shape):
        batch.requires_grad_()
        eager(batch)
        compiled(batch).sum().backward()
        assert_same_buffers(module, eager)


@pytest.mark.parametrize(
    ("name", "options", "shape"), [kind for kind in KINDS if kind[0].startswith("BatchNorm")]
)  # torch's instance norm continues to update them
def test_statistics_that_are_no_longer_tracked_do_not_change(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    module = getattr(nn, name)(3, **options).double()
    module.track_running_stats = False
    before = {key: each.clone() for key, each in module.named_buffers()}
    module(batches(*shape)[0])
    assert all(each.equal(before[key]) for key, each in module.named_buffers())


def test_16_bit_modules_update_their_16_bit_statistics_as_torch() -> None:
    ours, reference = (kind.BatchNorm1d(3).bfloat16() for kind in (nn, torch.nn))
    for batch in batches(64, 3):
        ours(batch.bfloat16())
        reference(batch.bfloat16())
    for mine, theirs in zip(ours.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.02, atol=0.02)


def test_more_or_fewer_axes_are_refused() -> None:
    for module, shape in (
        (nn.BatchNorm1d(3), (2, 3, 4, 5)),
        (nn.BatchNorm2d(3), (2, 3, 4)),
        (nn.BatchNorm3d(3), (2, 3, 4, 5)),
        (nn.InstanceNorm1d(3), (2, 3, 4, 5)),
        (nn.InstanceNorm2d(3), (3, 4)),
        (nn.InstanceNorm3d(3), (2, 3, 4)),
    ):
        with pytest.raises(ValueError, match=r"input has shape .*, expected"):
            module(torch.zeros(shape))


def test_unused_num_features_gives_a_warning_as_in_torch() -> None:
    for kind in (nn, torch.nn):
        with pytest.warns(UserWarning, match="num_features"):
            kind.InstanceNorm1d(4)(torch.randn(2, 3, 5))
