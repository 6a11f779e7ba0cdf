"""The methods of a run, and the commands as functions: what they return, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from fingerprints import draw_fingerprints
from safetensors.torch import load_file

import bptrain
from bptrain.api.run import Run
from bptrain.errors import CheckpointError, DataError, UsageError

XOR: dict[str, Any] = {
    "name": "xor",
    "data": {"kind": "xor", "samples": 80, "batch_size": 16},
    "model": {"kind": "mlp", "hidden": [8]},
    "train": {"epochs": 3},
    "monitor": {"log_every": 3},
}
POINTS = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_fingerprints(monkeypatch.setattr)


@pytest.fixture
def run() -> Run:
    return bptrain.fit(XOR)


def test_predictions_are_those_of_the_model_whatever_holds_the_inputs(run: Run) -> None:
    found = run.predict(POINTS)
    assert found.columns == ["input", "class", "probability", "top"]
    assert found["input"].to_list() == [0, 1, 2]
    with torch.no_grad():
        scores = run.model(torch.tensor(POINTS, dtype=torch.float32)).softmax(1)
    names = ("same", "different")
    assert found["class"].to_list() == [names[each] for each in scores.argmax(1)]
    np.testing.assert_allclose(found["probability"], scores.amax(1), rtol=1e-5)
    tensor = torch.tensor(POINTS)
    others = (POINTS.tolist(), tensor.requires_grad_(), tensor.to(torch.bfloat16), list(POINTS))
    for each in others:
        assert run.predict(each).equals(found)


def test_predict_refuses_what_is_no_input(run: Run) -> None:
    wrong = {
        "no inputs to predict": [],
        "no inputs": np.array(1.0),
        "no inputs to": 5,
        "a str among inputs of other kinds": ["a.png", POINTS[0]],
        "takes no rows as mappings": {"x": 1},
        "reads no file": "a.csv",
        "an input is no array": [[[1.0], [1.0, 2.0]]],
    }
    for message, inputs in wrong.items():
        with pytest.raises(UsageError, match=message):
            run.predict(inputs)
    for message, inputs in {
        r"input 0: its shape is \[\]": POINTS[0],
        r"input 1: its shape is \[3\]": [[1.0, 2.0], [1.0, 2.0, 3.0]],
        "input 1: it holds NaN": [[1.0, 2.0], [np.nan, 0.0]],
        "an array of object": [np.array([None, 1])],
        r"\*.none: no file matches": "*.none",
    }.items():
        with pytest.raises(DataError, match=message):
            run.predict(inputs)
    with pytest.raises(UsageError, match="are for language models"):
        run.predict(POINTS, length=3)


def test_metrics_have_a_row_for_each_logged_step(run: Run) -> None:
    found = run.metrics()
    lines = [json.loads(each) for each in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert found["step"].to_list() == sorted({each["step"] for each in lines})
    assert found.schema["step"] == found.schema["epoch"] == pl.Int64
    assert found.schema["train/loss"] == pl.Float64
    for line in lines:
        row = found.row(by_predicate=pl.col("step") == line["step"], named=True)
        for tag, value in line.items():
            assert row[tag] == (value if tag != "time_s" else row[tag]), tag
    never = [tag for tag in lines[-1] if tag.startswith("test/")]
    assert never
    assert found["test/loss"].null_count() == found.height - 1


def test_a_log_that_is_being_written_and_what_is_no_number_are_read(run: Run) -> None:
    path = run.folder / "metrics.jsonl"
    whole = run.metrics()
    with path.open("a") as file:
        file.write('{"step": 99, "train/lo')
    assert run.metrics().equals(whole)
    with path.open("a") as file:
        file.write('ss": null, "grad/time/rnn": [1, null], "verdict/dead": "why"}\n')
    last = run.metrics().row(-1, named=True)
    assert (last["step"], last["train/loss"], last["epoch"]) == (99, None, None)
    assert (last["grad/time/rnn"], last["verdict/dead"]) == ([1.0, None], "why")
    path.write_text("no line\n" + path.read_text())
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:1"):
        run.metrics()


def test_what_the_commands_write_and_tell_of_a_run(run: Run) -> None:
    evaluated = run.evaluate()
    last = run.metrics().row(-1, named=True)
    assert evaluated["test/loss"] == last["test/loss"]
    assert evaluated["baseline/majority_class/accuracy"] < 1
    assert run.verdicts() == bptrain.load(run.folder).verdicts()
    assert run.report() == run.folder / "report.html"
    assert run.report("page.html", evaluate=False) == Path("page.html")
    assert "was not asked for" in Path("page.html").read_text(encoding="utf-8")
    assert run.export("m.safetensors", code_file="m.py") == Path("m.safetensors")
    stored = load_file("m.safetensors")
    assert all(torch.equal(stored[key], each) for key, each in run.model.state_dict().items())
    with pytest.raises(UsageError, match="is there already"):
        run.export("m.safetensors")
    run.export("m.safetensors", force=True)
    with pytest.raises(CheckpointError, match="no step to repeat"):
        run.replay()
    assert repr(run) == f"Run({str(run.folder)!r}, checkpoint='best')"
    assert run.name == "xor"


def test_labelled_data_is_evaluated_and_data_that_moved_is_found() -> None:
    rows = [f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["x,y,c", *rows]))
    run = bptrain.fit(
        {
            "data": {"kind": "table", "path": "t.csv", "target": "c"},
            "model": {"kind": "mlp", "hidden": [4]},
            "train": {"epochs": 1},
        }
    )
    whole = run.evaluate("t.csv")
    assert 0 <= whole["test/accuracy"] <= 1
    expected = run.evaluate()
    Path("t.csv").rename("moved.csv")
    with pytest.raises(DataError):
        run.evaluate()
    assert run.evaluate(moved={"path": "moved.csv"}) == expected
    with pytest.raises(UsageError, match="takes where the data lies"):
        run.evaluate(moved={"target": "x"})
    frame = pl.DataFrame({"c": ["a", "b"], "y": [1, 2], "x": [0.5, None]})
    found = run.predict(frame)
    assert found.equals(run.predict(frame.to_dicts()))
    Path("two.csv").write_text("x,y\n0.5,1\n,2\n")
    assert found.drop("input").equals(run.predict("two.csv").drop("input"))
    assert run.predict(Path("t*.csv"))["input"].to_list() == ["two.csv:1", "two.csv:2"]
    with pytest.raises(DataError, match="input 1: no column 'y'"):
        run.predict([{"x": 1, "y": 2}, {"x": 1}])


def test_the_commands_about_a_config_are_functions() -> None:
    assert bptrain.validate(XOR, seed=3).train.l1 == 0.0
    text = bptrain.starter_config("mlp")
    assert bptrain.validate(text, data={"kind": "xor"}).model.kind == "mlp"
    assert bptrain.check(XOR).ok
    tried = bptrain.suggest_lr(XOR, steps=30, highest=1.0)
    assert len(tried.rates) == len(tried.losses) <= 30
    with pytest.raises(UsageError, match="not between"):
        bptrain.suggest_lr(XOR, lowest=1.0, highest=0.5)
    assert "Affine map: y = x W^T + b" in bptrain.explain(XOR, sample=2)
    assert "open it in a browser" in bptrain.explain(XOR, steps=1, page="page.html")
    assert Path("page.html").stat().st_size > 1000
    assert "linear" in bptrain.step_program(XOR, as_recorded=True)
    with pytest.raises(UsageError, match="turns=1"):
        bptrain.measure_step(XOR, turns=1)
    with pytest.raises(UsageError, match="did you mean 'xor'"):
        bptrain.starter_config("xorr")


def test_runs_are_compared_in_a_frame() -> None:
    bptrain.fit(XOR, run_dir="runs/a")
    bptrain.fit(XOR, run_dir="runs/b", optimizer__lr=0.5, schedule={"kind": "cosine"})
    found = bptrain.compare("runs", sort="test/accuracy")
    assert set(found["run"]) == {"runs/a", "runs/b"}
    assert {"optimizer.lr", "best val/loss", "test/accuracy", "schedule.kind"} <= set(found.columns)
    assert found["test/accuracy"].to_list() == sorted(found["test/accuracy"], reverse=True)
    assert found.schema["verdicts"] == pl.List(pl.String)
    (Path("runs/a") / "config.yaml").write_text("no config")
    with pytest.warns(UserWarning, match="left out: .*runs/a"):
        assert bptrain.compare("runs").height == 1
