"""Evaluate and predict for every kind of data, with the inputs that a user would pass."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any, get_args

import pytest
from html_pages import read
from kinds_of_data import KINDS, Kind
from served import client_of, upload

from bptrain.api.run import Run
from bptrain.data import DataConfig

METRIC = {
    "classification": "accuracy",
    "regression": "rmse",
    "tagging": "accuracy",
    "transcription": "character_error_rate",
    "language_model": "bits_per_character",
}


def test_no_kind_of_data_is_left_out() -> None:
    kinds = {each.model_fields["kind"].default for each in get_args(get_args(DataConfig)[0])}
    assert {name.split()[0] for name in KINDS} == kinds


@pytest.mark.parametrize("name", KINDS)
def test_a_run_is_evaluated_and_predicts_given_inputs(bptrain: Callable, name: str) -> None:
    kind = KINDS[name]
    kind.write()
    Path("c.yaml").write_text(
        f"data: {{{kind.data}, batch_size: 16}}\nmodel: {kind.model}\ntrain: {{steps: 2}}\n"
    )
    fitted = bptrain("fit", "c.yaml", "--run-dir", "run")
    assert fitted.exit_code == 0, fitted.stderr
    report = " ".join(read(Path("run/report.html").read_text(encoding="utf-8")).text)
    assert "samples with the largest loss" in report
    assert "predicted" in report

    result = bptrain("evaluate", "run", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed.pop("checkpoint").startswith("step-")
    assert {"test/loss", f"test/{METRIC[kind.task]}"} <= set(printed)
    assert all(isfinite(value) for value in printed.values())

    if not kind.inputs:
        refused = bptrain("predict", "run", "new.csv")
        assert refused.exit_code == 2
        assert "reads no file" in refused.stderr
        client = client_of(Path("run"))
        example = client.get("/health").json()["example"]
        assert len(client.post("/predict", json={"inputs": [example]}).json()["predictions"]) == 1
        assert upload(client, Path("c.yaml")).status_code == 422
        return
    check_service(kind, check_answers(bptrain, kind))


def check_service(kind: Kind, said: list[dict[str, Any]]) -> None:
    """Check that a service says what `predict` said, of uploaded files and of the same values."""
    client = client_of(Path("run"))
    files = [each for each in kind.inputs if Path(each).is_file()]
    if len(files) == len(kind.inputs):
        found = upload(client, *map(Path, files)).json()["predictions"]
        short = [{**each, "input": each["input"].rpartition("/")[2]} for each in said]
        assert found == short
    values = kind.values() if kind.values is not None else []
    if not values:
        assert client.post("/predict", json={"inputs": ["new.csv"]}).status_code == 422
        return
    options = {"length": 5, "temperature": 0} if kind.task == "language_model" else {}
    found = client.post("/predict", json={"inputs": values, **options}).json()["predictions"]
    assert [{**each, "input": ""} for each in found] == [{**each, "input": ""} for each in said]


def check_answers(bptrain: Callable, kind: Kind) -> list[dict[str, Any]]:
    """Check that the answers have the task's format, and are the same in JSON, CSV and a table.

    Returns those of JSON.
    """
    words = ["predict", "run", *kind.inputs]
    words += ["--length", "5", "--temperature", "0"] if kind.task == "language_model" else []
    printed = {form: bptrain(*words, *form) for form in ((), ("--json",), ("--csv",))}
    for result in printed.values():
        assert result.exit_code == 0, result.stderr
    said = json.loads(printed["--json",].stdout)
    assert len(said) == kind.answers
    heading, *rows = printed[()].stdout.splitlines()
    assert heading.split() == list(said[0])
    as_csv = list(csv.DictReader(StringIO(printed["--csv",].stdout)))
    assert len(as_csv) == kind.answers
    for number, (answer, cells) in enumerate(zip(said, as_csv, strict=True), start=1):
        many = len(kind.inputs) < kind.answers
        assert answer["input"] == (
            f"{kind.inputs[0]}:{number}" if many else kind.inputs[number - 1]
        )
        assert any(row.startswith(answer["input"]) for row in rows)
        check_answer(kind, answer, cells)
    options = {"length": 5, "temperature": 0.0} if kind.task == "language_model" else {}
    assert Run("run").predict(kind.inputs, **options).to_dicts() == said
    return said


def check_answer(kind: Kind, answer: dict[str, Any], cells: dict[str, str]) -> None:
    assert cells["input"] == answer["input"]
    match kind.task:
        case "classification":
            ranked = [each["class"] for each in answer["top"]]
            assert len(set(ranked)) == min(3, len(kind.names))
            assert set(ranked) <= set(kind.names)
            assert answer["class"] == cells["class"] == ranked[0]
            assert 0 < answer["probability"] == float(cells["probability"]) <= 1
        case "regression":
            assert list(answer) == ["input", *kind.names]
            for name in kind.names:
                assert isfinite(answer[name])
                assert float(cells[name]) == answer[name]
        case "tagging":
            assert set(answer["classes"]) <= set(kind.names)
            assert len(answer["classes"]) == int(answer["input"].split(":")[1]) + 1  # its steps
            assert cells["classes"] == " ".join(answer["classes"])
        case "transcription":
            assert set(answer["text"]) <= set(kind.names)
            assert cells["text"] == answer["text"]
        case "language_model":
            assert len(answer["text"]) == 5
            assert cells["text"] == answer["text"]
