"""The JSON Schema as an editor uses it: every config is valid, and a wrong key is not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from small_files import CONFIGS

from bptrain.config.yaml_tree import read_tree

CONFIG_FILES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    from bptrain.config import json_schema
    from bptrain.experiment.config import ExperimentConfig

    schema = json.loads(json.dumps(json_schema(ExperimentConfig)))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", CONFIG_FILES, ids=lambda path: path.stem)
def test_every_config_fits_the_schema(validator: Draft202012Validator, path: Path) -> None:
    root = read_tree(path.read_text(encoding="utf-8")).root
    assert [error.message for error in validator.iter_errors(root)] == []


@pytest.mark.parametrize("kind", ["mlp", "cnn", "rnn", "transformer", "pretrained", "sequential"])
def test_a_starter_names_the_schema_and_fits_it(
    bptrain: Callable, validator: Draft202012Validator, kind: str
) -> None:
    written = bptrain("init", kind).stdout
    assert written.startswith("# yaml-language-server: $schema=bptrain.schema.json\n")
    assert [error.message for error in validator.iter_errors(read_tree(written).root)] == []


def test_an_unknown_key_and_a_wrong_value_do_not_fit(validator: Draft202012Validator) -> None:
    root = {"name": "x", "data": {"kind": "digits"}, "model": {"kind": "mlp"}}
    assert validator.is_valid(root)
    assert not validator.is_valid(root | {"modle": 1})
    assert not validator.is_valid(root | {"data": {"kind": "digits", "batch_sizee": 3}})
    assert not validator.is_valid(root | {"optimizer": {"kind": "sgd", "lr": -1}})


def test_the_printed_schema_names_its_dialect(bptrain: Callable) -> None:
    schema = json.loads(bptrain("validate", "--schema").stdout)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
