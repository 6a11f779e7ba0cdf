"""The table of docs/benchmarks.md: the order of measuring, and what a broken-off run keeps."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small_files import CONFIGS
from test_workloads import process

LSTM, GRU = "LSTM 128-256, T 128, batch 64", "GRU 128-256, T 128, batch 64"
LEFT_OUT = {"left_out": {}, "matmul_routes": {"torch": 1e11}}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script; it writes into a copy of the docs."""
    path = CONFIGS.parent / "scripts" / "benchmark_table.py"
    spec = importlib.util.spec_from_file_location("benchmark_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.BENCHMARKS = tmp_path / "benchmarks.md"
    module.BENCHMARKS.write_text("# Benchmarks\n")
    monkeypatch.chdir(tmp_path)
    return module


@pytest.fixture
def measured(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Run the script; return what was measured. Whatever is `broken` fails in its own way."""

    def run(*words: str, broken: dict[str, BaseException] | None = None) -> list[str]:
        seen: list[str] = []

        def one(name: str, precision: str, *_: Any) -> dict[str, Any]:
            seen.append(name)
            if broken and name in broken:
                raise broken[name]
            return process(0.9, 0.8) | LEFT_OUT | {"name": name}

        monkeypatch.setattr(script, "process", one)
        monkeypatch.setattr(sys, "argv", ["table", "--precision", "fp32", "--only", *words])
        script.main()
        return seen

    return run


def test_each_workload_is_measured_once_before_the_first_is_again(
    measured: Callable[..., list[str]], script: ModuleType
) -> None:
    assert measured("128-256", "--processes", "2") == [LSTM, GRU, LSTM, GRU]
    text = script.BENCHMARKS.read_text()
    assert "in 2 processes, in each" in text
    assert f"| {GRU} | float32 | autograd | 2 | 0.90 |" in text


def test_a_run_that_is_broken_off_keeps_what_it_has_and_goes_on_there(
    measured: Callable[..., list[str]], script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("128-256", "--processes", "2", "--json", "table.json")
    with pytest.raises(KeyboardInterrupt):
        measured(*words, broken={GRU: KeyboardInterrupt()})
    assert [*json.loads(Path("table.json").read_text())["workloads"]] == [f"{LSTM}, fp32"]
    assert f"| {LSTM} | float32" in script.BENCHMARKS.read_text()
    assert measured(*words) == [GRU, LSTM, GRU]
    monkeypatch.setattr(script, "peers_section", lambda *_: "| jax |")
    assert measured(*words, "--peers") == []
    assert measured(*words) == []
    text = script.BENCHMARKS.read_text()
    assert "in 2 processes, in each" in text
    assert "| jax |" in text


def test_a_workload_that_fails_is_named_and_not_tried_again(
    measured: Callable[..., list[str]], script: ModuleType
) -> None:
    for error, why in (
        (subprocess.TimeoutExpired("x", 60.0), "not within 60 s"),
        (subprocess.CalledProcessError(1, "x", stderr="a\nValueError: b\n"), "ValueError: b"),
    ):
        assert measured("128-256", "--processes", "2", broken={GRU: error}) == [LSTM, GRU, LSTM]
        text = script.BENCHMARKS.read_text()
        assert f"- {GRU}, fp32: {why}" in text
        assert f"| {LSTM} | float32" in text
