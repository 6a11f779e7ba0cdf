"""Paths of data: expanded, looked up beside the config, and absolute where they are missing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bptrain.config import load_config
from bptrain.experiment.config import ExperimentConfig

ROWS = "x,y\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(20))


def config_in(folder: Path, path: str) -> Path:
    folder.mkdir(exist_ok=True)
    written = folder / "c.yaml"
    written.write_text(
        f"data: {{kind: table, path: {path}, target: y}}\n"
        "model: {kind: mlp}\ntrain: {steps: 1}\n"
    )
    return written


@pytest.mark.parametrize("path", ["~/t.csv", "$HOME/t.csv", "${HOME}/t.csv"])
def test_a_home_and_a_variable_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config(ExperimentConfig, config_in(tmp_path / "c", f"'{path}'"))
    assert config.data.path == str(tmp_path / "t.csv")


def test_a_path_is_looked_up_here_and_then_beside_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = config_in(tmp_path / "c", "t.csv")
    (tmp_path / "c" / "t.csv").write_text(ROWS)
    monkeypatch.chdir(tmp_path)
    assert load_config(ExperimentConfig, written).data.path == str(tmp_path / "c" / "t.csv")
    assert load_config(ExperimentConfig, Path("c/c.yaml")).data.path == "c/t.csv"
    (tmp_path / "t.csv").write_text(ROWS)
    assert load_config(ExperimentConfig, written).data.path == "t.csv"


@pytest.mark.parametrize(
    "data",
    [
        "kind: table, path: gone, target: y",
        "kind: sequence, path: gone",
        "kind: text_table, path: gone",
        "kind: text, path: gone",
        "kind: image_folder, root: gone, size: 8",
        "kind: audio_folder, path: gone, pattern: '{label}_{speaker}_{index}.wav'",
    ],
)
def test_a_path_that_leads_nowhere_is_shown_as_a_whole(
    bptrain: Callable, tmp_path: Path, data: str
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"data: {{{data}}}\nmodel: {{kind: mlp}}\n")
    result = bptrain("fit", "c.yaml", "--dry-run")
    assert result.exit_code == 3, result.stderr
    assert "gone: not found" in result.stderr
    assert f"there is no {tmp_path / 'gone'}" in result.stderr
