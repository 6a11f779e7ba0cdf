"""What `doctor` says of threads, allocator and products follows from the machine's files."""

from pathlib import Path

import pytest
import torch

from bptrain.bench import processor


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000\n", float("inf")), ("150000 100000\n", 1.5)]
)
def test_a_containers_share_of_the_processor(tmp_path: Path, quota: str, expected: float) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert processor._share(file) == expected
    assert processor._share(tmp_path / "missing") == float("inf")


@pytest.mark.parametrize(
    ("cores", "advice"), [(0.5, "set OMP_NUM_THREADS=1"), (64, "OMP_NUM_THREADS=64")]
)
def test_another_number_of_threads_than_cores_is_said(
    monkeypatch: pytest.MonkeyPatch, cores: float, advice: str
) -> None:
    monkeypatch.setattr(processor, "usable_cores", lambda: cores)
    assert advice in processor.threads()
    monkeypatch.setattr(processor, "usable_cores", lambda: float(torch.get_num_threads()))
    assert ":" not in processor.threads()


def test_an_allocator_that_was_preloaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f0000000000-7f0000001000 r-xp 00000000 08:01 42 /usr/lib/libjemalloc.so.2\n")
    monkeypatch.setattr(processor, "MAPS", maps)
    assert processor.allocator() == "jemalloc"


def test_products_are_timed_by_each_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "PROBES", 1)
    speeds = processor.products()
    assert "torch" in speeds
    assert min(speeds.values()) > 0
