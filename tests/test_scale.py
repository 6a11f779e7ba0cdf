"""The formulas of scripts/scale.py, against cases that can be counted by hand and limits."""

import sys
from math import isclose
from pathlib import Path

import pytest
import torch
from torch import nn

from bptrain.train.buckets import divided

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.append(str(SCRIPTS))

import scale  # noqa: E402
import scale_model as model  # noqa: E402
from scale_model import Family, Layer, Link  # noqa: E402

FREE = Link("no latency", 1e9, 0.0)
SLOW_START = Link("no bytes", float("inf"), 1e-3)


def steps_of_a_ring(n: int, size: float, link: Link) -> float:
    """Count the messages of a ring one by one: each step sends a part to the next device."""
    parts_sent = [*range(n - 1), *range(n - 1)]  # reduce-scatter, then all-gather
    return sum(size / n / link.bytes_per_s + link.latency_s for _ in parts_sent)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 1000])
def test_a_ring_takes_the_time_of_its_messages(n: int) -> None:
    link = Link("any", 3e9, 2e-6)
    assert isclose(model.ring_s(n, 1e6, link), steps_of_a_ring(n, 1e6, link), abs_tol=1e-15)


def test_limits_of_ring_and_tree() -> None:
    assert model.ring_s(1, 1e9, FREE) == model.tree_s(1, 1e9, FREE) == 0
    assert model.ring_s(2, 1e9, FREE) == 1.0
    assert isclose(model.ring_s(10**6, 1e9, FREE), 2.0, rel_tol=1e-5)  # whatever the devices
    assert model.tree_s(1000, 1e9, FREE) == 2.0
    assert isclose(model.ring_s(1000, 1, SLOW_START), 1.998)  # grows with n
    assert isclose(model.tree_s(1000, 1, SLOW_START), 0.020)  # with its logarithm
    assert isclose(model.tree_s(1024, 1, SLOW_START), 0.020)
    assert isclose(model.tree_s(1025, 1, SLOW_START), 0.022)
    assert model.best_s(8, 1e9, FREE) == model.ring_s(8, 1e9, FREE)
    assert model.best_s(8, 1e3, SLOW_START) == model.tree_s(8, 1e3, SLOW_START)


def test_two_levels_are_one_within_a_node_and_send_as_much_as_one_device_outside() -> None:
    inside, outside = Link("fast", 1e12, 1e-9), Link("slow", 1e9, 1e-5)
    assert model.two_levels_s(8, 1e8, inside, outside) == model.best_s(8, 1e8, inside)
    found = model.two_levels_s(64, 1e8, inside, outside)
    assert isclose(found, model.best_s(8, 1e8, outside) + model.best_s(8, 1e8, inside))


def test_what_is_exposed_by_hand() -> None:
    """Three layers of 1 s backward each; a bucket each, 2 s of communication each."""
    layer = Layer(model.BUCKET_BYTES // 4, 0.5)
    family = Family("by hand", [layer] * 3, 1, 1.0)
    assert family.step_s == 4.5
    assert model.buckets_of(family) == [
        (1.0, model.BUCKET_BYTES),
        (2.0, model.BUCKET_BYTES),
        (3.0, model.BUCKET_BYTES),
    ]

    def two_seconds(n: int, size: float) -> float:
        return 2.0 * size / model.BUCKET_BYTES

    # complete at 1, 2, 3; sent 1-3, 3-5, 5-7: the backward pass ends at 3
    assert model.exposed_s(family, 2, two_seconds) == 4.0
    assert model.exposed_s(family, 2, two_seconds, overlaps=False) == 6.0
    assert model.exposed_s(family, 1, two_seconds) == 0.0
    assert (
        model.exposed_s(family, 2, lambda n, size: 0.25) == 0.25
    )  # the last bucket's is not hidden
    assert model.efficiency(family, 2, two_seconds) == 4.5 / 8.5


def test_tied_weights_are_complete_at_the_end() -> None:
    layers = [Layer(10, 1.0), Layer(10, 1.0), Layer(1000, 1.0, is_last=True)]
    family = Family("tied", layers, 1, 1.0)
    assert model.buckets_of(family, bucket_bytes=40) == [(4.0, 40), (6.0, 40), (6.0, 4000)]


def test_the_buckets_are_those_of_a_run() -> None:
    sizes = [300, 2**18, 5, 7, 5 * 2**20, 2**21, 11]
    family = Family("any", [Layer(size, 1.0) for size in reversed(sizes)], 1, 1.0)
    parameters = [nn.Parameter(torch.empty(size, device="meta")) for size in sizes]
    for limit in (20, 48, 1e6, model.BUCKET_BYTES):
        ours = [4 * sum(p.numel() for p in each) for each in divided(parameters, limit)]
        assert [size for _, size in model.buckets_of(family, limit)] == ours


@pytest.mark.parametrize("make", model.FAMILIES)
@pytest.mark.parametrize("way", model.WAYS)
def test_communication_never_helps_and_overlap_never_hurts(make: object, way: str) -> None:
    family, all_reduce = make(), model.WAYS[way]
    for n in (2, 8, 9, 100, 1000):
        both = [model.efficiency(family, n, all_reduce, overlaps) for overlaps in (True, False)]
        assert 0 < both[1] <= 1
        if family.gradient_bytes > model.BUCKET_BYTES * 10 or len(model.buckets_of(family)) == 1:
            assert both[1] <= both[0] + 1e-12
    count, speed_up = model.fastest(family, all_reduce)
    assert 1 <= speed_up <= count


def parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_the_networks_have_the_parameters_of_theirs() -> None:
    with torch.device("meta"):
        stack = nn.LSTM(1024, 1024, 2)
        block = nn.TransformerEncoderLayer(768, 12, 3072)
    assert model.lstm().parameters == parameters(stack) + 10_000 * 1024 * 2 + 10_000
    assert model.transformer().layers[1].parameters == parameters(block)
    assert 105e6 < model.transformer().parameters < 115e6
    assert model.resnet50().parameters == 25_557_032  # torchvision's
    assert model.resnet20().parameters == 272_474 + 0  # with projections, counted by torch.nn
    assert isclose(sum(each.forward_flops for each in model.resnet50().layers), 8.2e9, rel_tol=0.02)


def test_the_link_is_recovered_from_the_times_of_a_ring() -> None:
    link = Link("any", 2e9, 30e-6)
    times = {size: model.ring_s(2, size, link) for size in scale.SIZES}
    found = scale.fitted(times, 2)
    assert isclose(found.bytes_per_s, link.bytes_per_s)
    assert isclose(found.latency_s, link.latency_s, rel_tol=0.05)  # 4 KiB take 2 us
    written = scale.measured_table({2: times, 4: {s: 2 * model.ring_s(4, s, link) for s in times}})
    assert written.count("| 1.00 |") >= 1
    assert " 2.0" in written or " 1.9" in written


def test_the_page_holds_what_the_script_computes() -> None:
    page = scale.PAGE.read_text(encoding="utf-8")
    families = [make() for make in model.FAMILIES]
    for made in (scale.family_table, scale.efficiency_table, scale.limit_table):
        assert made(families) in page, made.__name__
    with pytest.raises(ValueError, match="no section"):
        scale.with_section("", "families", "")
