"""The lessons: each trouble gets its verdict, and the change that this proposes cures it."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_files import CONFIGS
from typer.testing import Result

from bptrain.experiment.diagnosis import read_lines
from bptrain.monitor.verdicts import KINDS, History
from bptrain.monitor.verdicts.progress import progress_of

ROOT = CONFIGS.parent
TROUBLES = sorted(each for each in (CONFIGS / "troubles").glob("*.yaml") if each.stem != "cost")
PAGES = {path: path.read_text() for path in (ROOT / "docs" / "lessons").glob("*.md")}
STEPS = {  # that are enough to see it, and what cures it
    "class_collapse": 290,
    "dead": 120,
    "divergence": 500,
    "exploding": 40,
    "input_scale": 200,
    "no_learning": 100,
    "overfitting": 100,
    "plateau": 150,
    "target_scale": 150,
    "vanishing_over_time": 500,
}
FEW = 40
SLOW = (  # hundreds of steps, or recurrent networks
    "class_collapse",
    "dead",
    "divergence",
    "input_scale",
    "overfitting",
    "plateau",
    "target_scale",
    "vanishing_over_time",
)


def kind_of(config: Path) -> str:
    """Return the verdict that a config is named after."""
    return max((kind for kind in KINDS if config.stem.startswith(kind)), key=len)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the data that some of the configs read, and return its folder."""
    folder = tmp_path_factory.mktemp("tables")
    runpy.run_path(str(ROOT / "scripts" / "write_tables.py"))["write_tables"](folder)
    return folder


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(each, id=each.stem, marks=[pytest.mark.slow] * (each.stem in SLOW))
        for each in TROUBLES
    ],
)
def test_a_trouble_has_its_verdict_and_the_proposed_change_cures_it(
    bptrain: Callable[..., Result], data: Path, config: Path
) -> None:
    Path("data").symlink_to(data)

    def verdicts(run: str, *changes: str) -> list[dict[str, Any]]:
        steps = f"train.steps={STEPS.get(config.stem, FEW)}"
        fit = bptrain("fit", config, steps, *changes, "--run-dir", run)
        assert fit.exit_code in (0, 6), fit.stderr  # 6: a number that is not finite
        return list(json.loads(bptrain("diagnose", run, "--json").stdout)["verdicts"])

    first, *_ = verdicts("sick")
    assert first["kind"] == kind_of(config)
    found = verdicts("cured", *first["advice"])
    assert first["kind"] not in [each["kind"] for each in found]
    progress = progress_of(History(read_lines(Path("cured"))))
    assert progress is not None
    assert progress.learns


@pytest.mark.parametrize("config", TROUBLES, ids=lambda path: path.stem)
def test_a_page_has_the_command_and_the_cure_that_the_config_names(config: Path) -> None:
    command, *_ = (line for line in config.read_text().splitlines() if "bptrain fit" in line)
    (cure,) = (line for line in config.read_text().splitlines() if line.startswith("# Cured by"))
    fit = f"bptrain fit configs/troubles/{config.name}"
    assert command.endswith(fit)
    (page,) = (text for text in PAGES.values() if f"<!-- run {config.stem} -->" in text)
    assert f"$ {fit}\n" in page
    assert f"$ {fit} {cure.removeprefix('# Cured by: ')}\n" in page
    assert f"  try: {cure.removeprefix('# Cured by: ')}\n" in page
