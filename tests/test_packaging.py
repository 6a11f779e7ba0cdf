"""The packaging: version, pins, image, compose file, workflow, templates, scripts."""

import os
import re
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bptrain as package

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def read_yaml(*names: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(ROOT.joinpath(*names).read_text(encoding="utf-8"))
    return parsed


def dockerfile() -> list[str]:
    """Return the Dockerfile's instructions, each on one line, without comments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [line for line in lines.replace("\\\n", "").splitlines() if line]


def test_the_version_is_the_installed_one(bptrain: Callable) -> None:
    assert package.__version__ == version("bptrain")
    assert bptrain("--version").stdout == f"bptrain {version('bptrain')}\n"


def test_constraints_pin_every_dependency_within_its_range() -> None:
    pins = dict(line.split("==") for line in PINS)
    pins = {canonicalize_name(name): pinned for name, pinned in pins.items()}
    extras = [each for names in PROJECT["optional-dependencies"].values() for each in names]
    asked = [Requirement(each) for each in (*PROJECT["dependencies"], *extras)]
    unmet = [
        str(each)
        for each in asked
        if not each.specifier.contains(pins.get(canonicalize_name(each.name), "0"))
    ]
    assert unmet == [], "scripts/pin writes constraints.txt"


def test_constraints_name_no_library_that_torch_pins_by_platform() -> None:
    assert [pin for pin in PINS if pin.startswith(("nvidia", "cuda", "triton", "bptrain"))] == []


def test_the_image_installs_dependencies_before_the_code() -> None:
    lines = dockerfile()
    installed = next(i for i, line in enumerate(lines) if "pip install -r" in line)
    code = next(i for i, line in enumerate(lines) if line.startswith("COPY bptrain"))
    assert installed < code
    assert "-c constraints.txt" in lines[installed]
    after = [line for line in lines[code:] if "pip install" in line]
    assert all("--no-deps" in line and "--no-build-isolation" in line for line in after)


def test_the_base_image_is_an_argument_with_a_tag() -> None:
    base = next(line for line in dockerfile() if line.startswith("ARG BASE_IMAGE="))
    assert re.fullmatch(r"ARG BASE_IMAGE=\S+:[\w.-]+", base)
    assert [line for line in dockerfile() if line.startswith("FROM")] == [
        "FROM ${BASE_IMAGE} AS requirements",
        "FROM ${BASE_IMAGE}",
    ]


def test_what_the_image_copies_is_in_the_build_context() -> None:
    offered = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [line.split() for line in dockerfile() if line.startswith("COPY")]
    names = {
        word
        for words in copied
        if not any(each.startswith("--from") for each in words)
        for word in words[1:-1]
        if not word.startswith("--")
    }
    assert names == {name[1:] for name in offered if name.startswith("!")}
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_services_restart_and_publish_nothing_beyond_this_machine() -> None:
    services = read_yaml("compose.yaml")["services"]
    assert set(services) == {"gpu", "cpu", "tensorboard"}
    assert all(each["restart"] for each in services.values())
    published = [port for each in services.values() for port in each.get("ports", [])]
    assert published == ["127.0.0.1:6006:6006"]


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_a_training_service_has_time_to_save_and_a_profile(profile: str) -> None:
    service = read_yaml("compose.yaml")["services"][profile]
    assert service["profiles"] == [profile]
    assert service["init"] is True
    assert service["stop_grace_period"] == "2m"
    assert ("deploy" in service) == (profile == "gpu")


def test_the_workflow_tests_the_pythons_that_the_metadata_names() -> None:
    jobs = read_yaml(".github", "workflows", "ci.yml")["jobs"]
    named = [each.split(" :: ")[-1] for each in PROJECT["classifiers"] if "Python :: 3." in each]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == named
    assert {"run": ".ci/run"}.items() <= jobs["linux"]["steps"][-1].items()
    others = jobs["macos-and-windows"]["strategy"]["matrix"]
    assert set(others["python"]) <= set(named)
    assert [each.split("-")[0] for each in others["system"]] == ["macos", "windows"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_templates_have_a_name_and_fields(path: Path) -> None:
    template = read_yaml(".github", "ISSUE_TEMPLATE", path.name)
    assert template["name"]
    assert template["description"]
    ids = [field["id"] for field in template["body"]]
    assert len(ids) == len(set(ids)) > 0
    assert all(field["attributes"]["label"] for field in template["body"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_scripts_that_are_called_by_name_are_executable() -> None:
    files = [path for place in ("scripts", ".ci") for path in (ROOT / place).iterdir()]
    called = [path for path in files if path.is_file() and path.read_bytes().startswith(b"#!")]
    assert len(called) > 4
    assert [path.name for path in called if not os.access(path, os.X_OK)] == []


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    assert headings[0] == "Unreleased"
