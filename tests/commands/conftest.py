"""Runs that the tests of commands share."""

from pathlib import Path

import pytest
from fingerprints import draw_fingerprints
from served import SECRET
from small_files import CONFIGS
from typer.testing import CliRunner

from bptrain.cli import app


@pytest.fixture(scope="session")
def served_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs: of images, texts, rows of a table, and a language model."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.txt").write_text(SECRET)
    (folder / "verse.txt").write_text("round and round the rugged rock\n" * 20)
    rows = [["a good film,pro", "a bad one,con"][row % 2] for row in range(40)]
    (folder / "opinions.csv").write_text("\n".join(["text,label", *rows]))
    table = "\n".join(f"{row},{'ab'[row % 2]},{row % 3}" for row in range(40))
    (folder / "table.csv").write_text(f"x,c,y\n{table}")
    (folder / "writes.yaml").write_text(
        f"data: {{kind: text, path: {folder}/verse.txt, window: 8, batch_size: 4}}\n"
        "model: {kind: rnn, hidden: 8}\n"
    )
    (folder / "reads.yaml").write_text(
        f"data: {{kind: text_table, path: {folder}/opinions.csv}}\n"
        "model: {kind: rnn, hidden: 8}\n"
    )
    (folder / "rows.yaml").write_text(
        f"data: {{kind: table, path: {folder}/table.csv, target: y}}\n"
        "model: {kind: mlp, hidden: [8]}\n"
    )
    configs = {"images": CONFIGS / "digits_mlp.yaml"}
    configs |= {name: folder / f"{name}.yaml" for name in ("writes", "reads", "rows")}
    with pytest.MonkeyPatch.context() as patch:
        draw_fingerprints(patch.setattr)
        for name, config in configs.items():
            words = ["fit", str(config), "train.steps=2", "--run-dir", str(folder / name)]
            made = CliRunner().invoke(app, words)
            assert made.exit_code == 0, made.stderr
    return folder
