"""What is imported at the start of every command: nothing that only some data sets need."""

import subprocess
import sys

HEAVY = ["torchvision", "sklearn", "scipy", "PIL", "soundfile", "pandas"]


BUILT = [
    "import bptrain.data",
    "from bptrain.data.images.digits import DigitsConfig; DigitsConfig().build(0)",
    "from bptrain.data.generated.points import XorConfig; XorConfig().build(0)",
]


def test_data_sets_without_image_files_need_none_of_the_packages_that_read_them() -> None:
    show = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"
    script = "\n".join(f"{each}\n{show}" for each in BUILT)
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert dict(zip(BUILT, done.stdout.splitlines(), strict=True)) == dict.fromkeys(BUILT, "[]")
