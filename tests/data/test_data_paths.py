"""Paths of data: expanded, looked up beside the config, and absolute where they are missing."""

from collections.abc import Callable
from pathlib import Path

import image_sets
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


KEYS_OF_PATHS = {
    "data.path": "data: {kind: table, path: here, target: y}",
    "data.test_path": "data: {kind: table, path: gone, test_path: here, target: y}",
    "data.root": "data: {kind: image_folder, root: here}",
    "data.images": "data: {kind: image_table, path: gone, images: here}",
    "model.weights": "data: {kind: digits}\nmodel: {kind: pretrained, weights: here}",
}


@pytest.mark.parametrize("key", KEYS_OF_PATHS)
@pytest.mark.parametrize("given", ["here", "$PLACE/here", "~/here"])
def test_every_key_that_names_a_file_is_looked_up_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, given: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    text = KEYS_OF_PATHS[key].replace("here", f"'{given}'")
    model = "" if "model:" in text else "\nmodel: {kind: mlp}"
    (tmp_path / "c.yaml").write_text(text + model)
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    section, name = key.split(".")
    config = load_config(ExperimentConfig, tmp_path / "c.yaml")
    assert getattr(getattr(config, section), name) == str(tmp_path / "here")


@pytest.mark.parametrize("words", ["imagenet", "none"])
def test_words_in_place_of_weights_are_no_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    (tmp_path / words).mkdir()
    (tmp_path / "c.yaml").write_text(
        f"data: {{kind: digits}}\nmodel: {{kind: pretrained, weights: {words}}}\n"
    )
    monkeypatch.chdir("/")
    assert load_config(ExperimentConfig, tmp_path / "c.yaml").model.weights == words


def test_missing_weights_are_shown_as_a_whole(bptrain: Callable, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "data: {kind: image_folder, root: images, size: 32, channels: 3}\n"
        "model: {kind: pretrained, weights: gone.pt}\ntrain: {steps: 1}\n"
    )
    image_sets.write_folder(tmp_path / "images")
    result = bptrain("fit", "c.yaml")
    assert result.exit_code == 4, result.stderr
    assert "gone.pt: not found" in result.stderr
    assert f"there is no {tmp_path / 'gone.pt'}" in result.stderr


def test_inputs_of_predict_are_expanded(
    bptrain: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written = config_in(tmp_path, "t.csv")
    (tmp_path / "t.csv").write_text(ROWS)
    assert bptrain("fit", written, "--run-dir", "run").exit_code == 0
    for word in ("~/t.csv", "$HOME/t.csv"):
        assert len(bptrain("predict", "run", word, "--csv").stdout.splitlines()) == 21
