"""The corpus of broken configs: exit 2, quickly, in few lines, naming the right thing."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_configs import BROKEN, BROKEN_OVERRIDES, VALID

LIMIT_S = 2.0  # of processor time, which other programs on the machine do not lengthen


def assert_refused(result: object, expected: str, took_s: float) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    errors = result.stderr.strip().split("error: ")[1:]
    assert errors
    assert all(len(error.strip().splitlines()) <= 6 for error in errors)
    assert all(len(line) <= 250 for line in result.stderr.splitlines())
    assert took_s < LIMIT_S


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_is_refused(bptrain: Callable, tmp_path: Path, name: str) -> None:
    content, expected = BROKEN[name]
    path = tmp_path / "broken.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    started_s = time.process_time()
    result = bptrain("fit", path)
    assert_refused(result, expected, time.process_time() - started_s)
    assert "broken.yaml" in result.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["broken.yaml"]


@pytest.mark.parametrize("name", BROKEN_OVERRIDES)
def test_a_broken_override_is_refused(bptrain: Callable, tmp_path: Path, name: str) -> None:
    words, expected = BROKEN_OVERRIDES[name]
    (tmp_path / "good.yaml").write_text(VALID)
    started_s = time.process_time()
    # "--": a word that begins with a dash is an override here, not an option
    result = bptrain("validate", "good.yaml", "--", *words)
    assert_refused(result, expected, time.process_time() - started_s)


def test_the_corpus_is_large_and_its_base_is_valid(bptrain: Callable, tmp_path: Path) -> None:
    assert len(BROKEN) >= 60
    (tmp_path / "good.yaml").write_text(VALID)
    assert bptrain("validate", "good.yaml").exit_code == 0


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_config_or_a_directory_is_refused(
    bptrain: Callable, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "config.yaml")
    assert_refused(bptrain("fit", "config.yaml"), "config.yaml", 0)


def test_all_errors_of_a_config_come_at_once(bptrain: Callable, tmp_path: Path) -> None:
    text = "device: auto\ndata: {kind: digits, batch_size: 0}\nmodel: {kind: mlp, hiden: [3]}\n"
    (tmp_path / "many.yaml").write_text(text + "device: cpu\noptimizer: {kind: adamm}\n")
    stderr = bptrain("validate", "many.yaml").stderr
    for path in ("2: data.batch_size", "3: model.hiden", "4: device", "5: optimizer.kind"):
        assert f"many.yaml:{path}" in stderr
    assert "did you mean: hidden" in stderr
    assert "did you mean: adam" in stderr
