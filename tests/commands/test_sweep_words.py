"""The words of `sweep`: what they search, and what is refused before anything is trained."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_files import CONFIGS
from typer.testing import Result

from bptrain.experiment.search.space import pieces, read_space

Bptrain = Callable[..., Result]
XOR = CONFIGS / "xor_mlp.yaml"


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("optimizer.lr=0.1,1e-2", "0.1,0.01"),
        ("optimizer.lr=log(1e-4, 1e-1)", "log(0.0001,0.1)"),
        ("model.dropout=uniform(0,0.5)", "uniform(0.0,0.5)"),
        ("data.batch_size=int(16,256)", "int(16,256)"),
        ("model.hidden=[64,64],[128], []", "[64, 64],[128],[]"),
        ("optimizer={kind: sgd, lr: 0.1},{kind: adam}", "{kind: sgd, lr: 0.1},{kind: adam}"),
        ("schedule=null,{kind: cosine}", "null,{kind: cosine}"),
        ("name='a,b',c", '"a,b",c'),
    ],
)
def test_a_word_is_a_list_or_a_range(word: str, read: str) -> None:
    space = read_space([word, "seed=1", "model.hidden=[4,4]"])
    assert [str(each) for each in space.dimensions] == [read]
    assert space.fixed == ["seed=1", "model.hidden=[4,4]"]


def test_commas_inside_of_brackets_and_quotes_part_nothing() -> None:
    assert pieces("[1,2],{a: [3,4]},'5,[6',7") == ["[1,2]", "{a: [3,4]}", "'5,[6'", "7"]


def test_a_grid_has_every_combination_once() -> None:
    space = read_space(["optimizer.lr=0.1,0.2", "seed=0,1,2"])
    assert space.is_grid
    assert space.size == 6
    assert len({*map(tuple, space.combinations())}) == 6
    assert space.words(["0.1", "2"]) == ["optimizer.lr=0.1", "seed=2"]
    assert not read_space(["optimizer.lr=log(0.1,1)", "seed=0,1"]).is_grid


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=log(0,0.1)"], "0 has no logarithm"),
        (["optimizer.lr=log(-1,0.1)"], "log(LOW,HIGH) with 0 < LOW < HIGH"),
        (["optimizer.lr=uniform(0.5,0.1)"], "0.5 is not below 0.1"),
        (["optimizer.lr=uniform(0.5)"], "uniform takes two numbers"),
        (["optimizer.lr=uniform(a,b)"], "uniform takes two numbers"),
        (["optimizer.lr=uniform(0,.inf)"], "uniform takes two numbers"),
        (["data.batch_size=int(1.5,8)"], "its ends are not whole numbers"),
        (["optimizer.lr=logs(0.1,1)"], "logs is no kind of range"),
        (["optimizer.lr=0.1,,0.2"], "a value is empty"),
        (["optimizer.lr=0.1,0.10"], "0.1 is there twice"),
        (["optimizer.lr=0.1,0.2", "optimizer.lr=0.3,0.4"], "optimizer.lr is searched twice"),
        (["optimizer.lr=0.1"], "there is nothing to search"),
        (["optimizer.lrr=0.1,0.2"], "did you mean: lr"),
        (["optimizer.lr=0.1,fast"], "given:   fast"),
        (["optimizer.lr=uniform(-1,0.5)"], "optimizer.lr=-1.0"),
        (["data.batch_size=uniform(16,64)"], "for whole numbers data.batch_size=int(LOW,HIGH)"),
        (["optimizer.lr=0.1,0.2", "trian.epochs=2"], "did you mean: train"),
        (["optimizer.kind=adam,sgd", "optimizer.momentum=0,0.9"], "in the combination"),
        (["optimizer.lr=0.1,0.2", "--metric", "val/f1"], "no val/f1"),
        (["optimizer.lr=0.1,0.2", "--metric", "train/loss"], "checkpoint.best_by"),
        (["optimizer.lr=0.1,0.2", "--goal", "max"], "val/loss is better where it is smaller"),
        (["optimizer.lr=log(0.1,1)", "--search", "grid"], "a range has no grid"),
        (["seed=0,1", "--seeds", "2"], "seed is searched"),
        (["optimizer.lr=0.1,0.2", "data.validation_fraction=0"], "there are none"),
        (["optimizer.lr=0.1,0.2", "--storage", "nodb"], "no database"),
    ],
)
def test_what_cannot_be_searched_is_refused(bptrain: Bptrain, words: list[str], said: str) -> None:
    result = bptrain("sweep", XOR, *words)
    assert result.exit_code == 2, result.stdout
    assert said in result.stderr
    assert not list(Path().glob("runs/*/trial-*"))


def test_without_optuna_the_command_says_what_to_install(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = bptrain("sweep", XOR, "optimizer.lr=0.1,0.2")
    assert result.exit_code == 2
    assert "pip install 'bptrain[sweep]'" in result.stderr


def test_a_job_of_several_processes_is_refused(
    bptrain: Bptrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in {**job, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    result = bptrain("sweep", XOR, "optimizer.lr=0.1,0.2")
    assert result.exit_code == 2
    assert "start it without torchrun" in result.stderr


def test_a_space_of_many_combinations_is_checked_at_every_end(bptrain: Bptrain) -> None:
    words = [f"{key}=uniform(0,0.5)" for key in ("optimizer.weight_decay", "train.l1")]
    words += ["seed=0,1,2,3,4,5,6,7,8,9", "data.batch_size=8,9,10,11,12,13,14,many"]
    result = bptrain("sweep", XOR, *words)
    assert result.exit_code == 2
    assert "data.batch_size=many" in result.stderr
