"""What is imported at the start of every command: nothing that only some data sets need."""

import subprocess
import sys

import pytest

HEAVY = ["torchvision", "sklearn", "scipy", "PIL", "soundfile", "pandas"]


def imported_by(code: str) -> list[str]:
    """Return which of the heavy packages a fresh process has imported after running `code`."""
    script = f"{code}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return list(eval(done.stdout))


def test_data_sets_can_be_configured_without_the_packages_that_read_them() -> None:
    assert imported_by("import bptrain.data") == []


@pytest.mark.parametrize(
    "build",
    [
        "from bptrain.data.images.digits import DigitsConfig; DigitsConfig().build(0)",
        "from bptrain.data.generated.points import XorConfig; XorConfig().build(0)",
    ],
)
def test_a_data_set_without_image_files_needs_none_of_them(build: str) -> None:
    assert imported_by(build) == []
