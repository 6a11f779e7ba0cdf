"""Pictures of the board for the docs, from real runs: `scripts/screenshots [NAME...]`."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent
BPTRAIN = (sys.executable, "-m", "bptrain")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",  # which a container often forbids; it opens our own page alone
    "--disable-gpu",
    "--disable-3d-apis",  # with WebGL, curves are not drawn yet when the picture is taken
    "--hide-scrollbars",
    "--virtual-time-budget=60000",  # ms of the page's own clock, which runs ahead
)
LONGEST_S = 300  # for a picture
SETTLES_S = 5  # after the runs are known, until their last values are read
OBSERVED = ("monitor.max_overhead=null", "monitor.log_every=5")
VANISHING = "configs/digits_vanishing.yaml"


@dataclass(frozen=True)
class Screenshot:
    """A picture of a page of the board.

    runs  by name: the config, and what is changed in it
    page  of TensorBoard, what follows its address
    size  of the window in pixels
    """

    runs: Mapping[str, tuple[str, ...]]
    page: str
    size: tuple[int, int]


MANY = {
    "digits-mlp": ("configs/digits_mlp.yaml", "train.epochs=5"),
    "digits-vanishing": (VANISHING, "train.epochs=5"),
    "digits-cnn": ("configs/digits_cnn.yaml", "train.epochs=3"),
    "digits-sequential": ("configs/digits_sequential.yaml", "train.epochs=3"),
    "adding-lstm": ("configs/adding_lstm.yaml", "train.steps=150"),
    "adding-rnn": ("configs/adding_rnn.yaml", "train.steps=150"),
    "copy-lstm": ("configs/copy_lstm.yaml", "train.steps=60"),
    "parity-mlp": ("configs/parity_mlp.yaml", "train.epochs=3"),
    "spirals-mlp": ("configs/spirals_mlp.yaml", "train.epochs=20"),
    "xor-mlp": ("configs/xor_mlp.yaml", "train.epochs=20"),
}
DEEP = {"sigmoid": (VANISHING,), "relu": (VANISHING, "model.activation=relu")}
PLANES = {
    "spirals": ("configs/spirals_mlp.yaml", "monitor.level=basic"),
    "xor": ("configs/xor_mlp.yaml", "monitor.level=basic"),
}
SCREENSHOTS = {
    "board": Screenshot(MANY, "/", (1500, 1500)),
    "flow": Screenshot(DEEP, "/?tagFilter=Flow#timeseries", (1500, 900)),
    "decision_boundary": Screenshot(
        PLANES, "/?tagFilter=decision_boundary#timeseries", (1500, 1300)
    ),
}


def main(names: Sequence[str]) -> None:
    """Write the named pictures, or all of them."""
    unknown = [name for name in names if name not in SCREENSHOTS]
    if unknown:
        sys.exit(f"no picture {', '.join(unknown)}: there are {', '.join(SCREENSHOTS)}")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser to take pictures with: install Chromium ({', '.join(BROWSERS)})")
    for name in names or SCREENSHOTS:
        with TemporaryDirectory(prefix="screenshots-") as folder:
            write(name, SCREENSHOTS[name], Path(folder) / "runs", browser)


def write(name: str, screenshot: Screenshot, runs: Path, browser: str) -> None:
    """Train the runs, open the page and write the picture."""
    for run, (config, *changes) in screenshot.runs.items():
        print(f"{name}: training {run}", flush=True)
        observed = () if "monitor.level=basic" in changes else OBSERVED
        words = ["fit", str(ROOT / config), *observed, *changes, "--run-dir", str(runs / run)]
        subprocess.run([*BPTRAIN, *words], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    target = ROOT / "docs" / f"{name}.png"
    width, height = screenshot.size
    with served(runs) as url:
        wait_until_read(url, len(screenshot.runs))
        subprocess.run(  # noqa: S603
            [
                browser,
                *OPTIONS,
                f"--window-size={width},{height}",
                f"--screenshot={target}",
                url.rstrip("/") + screenshot.page,
            ],
            check=True,
            timeout=LONGEST_S,
            stderr=subprocess.DEVNULL,
        )
    print(f"{name}: {target}", flush=True)


def wait_until_read(url: str, runs: int) -> None:
    """Wait until TensorBoard has read so many runs: a page that opens before stays empty."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        with urlopen(f"{url}data/runs", timeout=LONGEST_S) as answer:  # noqa: S310
            if len(json.load(answer)) == runs:
                break
        time.sleep(0.5)
    time.sleep(SETTLES_S)


@contextmanager
def served(runs: Path) -> Iterator[str]:
    """Serve the board of the runs inside the block, and give its address."""
    words = [*BPTRAIN, "board", str(runs)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as board:  # noqa: S603
        try:
            assert board.stdout is not None
            line = board.stdout.readline()  # N runs of FOLDER at URL (...)
            yield next(word for word in line.split() if word.startswith("http"))
        finally:
            board.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
