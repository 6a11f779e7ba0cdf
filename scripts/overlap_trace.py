"""Time a step of two processes: when each sum of gradients runs, and how much the backward hides.

python scripts/overlap_trace.py          prints a table, and draws docs/overlap.png
... --size 1024 --layers 6 --bucket-mb 8 other layers and buckets

Two processes train the same network (gloo, the loopback of this machine), each on a core. A step
runs in two ways, in turn: with the sums started during the backward pass, as `fit` does, and with
the same sums started after it. A slow network is one of Linux's own, where nobody else is:

unshare --net sh -c 'ip link set lo up
    tc qdisc add dev lo root tbf rate 2gbit burst 256k latency 50ms
    python scripts/overlap_trace.py --picture slow.png'
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

PICTURE = Path(__file__).parents[1] / "docs" / "overlap.png"
PROCESSES = 2
STEPS, WARMING = 15, 3
LIMIT_S = 300
WAYS = ("during the backward pass", "after it")
Span = tuple[float, float]  # begin and end, in s since the backward pass began


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="inputs and outputs of a layer")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=256, help="samples of each process")
    parser.add_argument("--bucket-mb", type=float, default=8.0, help="train.bucket_mb")
    parser.add_argument("--engine", choices=("tape", "autograd"), default="tape")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--worker", nargs=2, metavar=("RANK", "STORE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        rank, store = given.worker
        work(int(rank), store, given)
        return
    found = json.loads(in_processes())
    print(table(found))
    draw(found, given.picture)


def in_processes() -> str:
    """Run the processes; return what the first one prints."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        command = [sys.executable, *sys.argv, "--worker"]
        started = [
            subprocess.Popen(  # noqa: S603  this file itself
                [*command, str(rank), str(Path(folder, "store"))],
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                env=environment,
                text=True,
            )
            for rank in range(PROCESSES)
        ]
        try:
            output, _ = started[0].communicate(timeout=LIMIT_S)
            if any(each.wait(LIMIT_S) for each in started):
                raise RuntimeError("a process failed")
        finally:
            for each in started:
                each.kill()
    return output


def work(rank: int, store: str, given: argparse.Namespace) -> None:
    """Take the steps as one of the processes; the first one prints their times as JSON."""
    import torch
    from torch import distributed

    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=LIMIT_S),
    )
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    step = step_of(given)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(WARMING + STEPS):
        for way in WAYS[::-1] if turn % 2 else WAYS:  # the first step gives the buckets' order
            distributed.barrier()
            times = step(way == WAYS[0])
            if turn >= WARMING:
                found[way].append(times)
    distributed.barrier()
    if rank == 0:
        print(json.dumps(found))
    distributed.destroy_process_group()


def step_of(given: argparse.Namespace) -> Callable[[bool], dict[str, Any]]:
    """Return a function that takes a step and returns its times."""
    import torch

    from bptrain import nn
    from bptrain.tape import Autograd, record
    from bptrain.train.buckets import MIB, BucketSums

    layers = [nn.Linear(given.size, given.size) for _ in range(given.layers)]
    model = torch.nn.Sequential(*(each for layer in layers for each in (layer, nn.ReLU())))
    engine = (record if given.engine == "tape" else Autograd)(model, nn.MSELoss())
    exchange = Timed()
    sums = BucketSums([*model.parameters()], given.bucket_mb * MIB, exchange)
    x, y = (torch.randn(given.batch, given.size) for _ in range(2))

    def step(overlaps: bool) -> dict[str, Any]:
        exchange.spans.clear()
        model.zero_grad()
        began = time.perf_counter()
        run = engine.begin((x,), (y,))
        run.forward()
        loss = run.loss()
        completed = sums.begin(loss)
        backward = time.perf_counter()
        run.backward(lambda loss: loss, completed if overlaps else None)
        ended = time.perf_counter()
        sums.finish()
        done = time.perf_counter()
        return {
            "step": done - began,
            "forward": backward - began,
            "backward": ended - backward,
            "done": done - backward,
            "sums": [(first - backward, last - backward) for first, last in exchange.spans],
            "bytes": exchange.sizes,
        }

    return step


class Timed:
    """Adds tensors over the processes, and notes when."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.sizes: list[int] = []

    def start_sum(self, tensor: Any) -> Callable[[], None]:
        """Start to add a tensor."""
        from torch import distributed

        place, began = len(self.spans), time.perf_counter()
        self.spans.append((began, began))
        self.sizes = [*self.sizes[:place], tensor.numel() * tensor.element_size()]
        pending = distributed.all_reduce(tensor, async_op=True)

        def note(_: object) -> None:
            self.spans[place] = began, time.perf_counter()

        noted = pending.get_future().then(note)

        def wait() -> None:
            pending.wait()
            noted.wait()

        return wait

    def of_first(self, numbers: list[int]) -> list[int]:
        """Return the numbers, which are the same in all processes."""
        return numbers


def hidden(times: Mapping[str, Any]) -> float:
    """Return the part of the time with a sum under way that lies within the backward pass."""
    end = times["backward"]
    within = united([(min(a, end), min(b, end)) for a, b in times["sums"]])
    return within / united(times["sums"])


def united(spans: Sequence[Sequence[float]]) -> float:
    """Return the seconds that lie in at least one span."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(map(tuple, spans)):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return medians of both ways in Markdown, and the ratio of their steps with its quartiles."""
    rows = ["| sums start | step | backward | sums | after the backward | hidden |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for way in WAYS:
        steps = found[way]
        cells = [
            milliseconds([each["step"] for each in steps]),
            milliseconds([each["backward"] for each in steps]),
            milliseconds([united(each["sums"]) for each in steps]),
            milliseconds([each["done"] - each["backward"] for each in steps]),
            f"{median(map(hidden, steps)):.0%}",
        ]
        rows.append(f"| {way} | {' | '.join(cells)} |")
    ratios = [a["step"] / b["step"] for a, b in zip(*(found[way] for way in WAYS), strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    sizes = " + ".join(f"{each / 2**20:.3g}" for each in found[WAYS[0]][0]["bytes"])
    rows.append("")
    rows.append(f"Buckets of {sizes} MiB; medians of {len(ratios)} steps of each, in turn. A step")
    rows.append(f"with overlap takes {middle:.2f} ({low:.2f} to {high:.2f}) of one without.")
    return "\n".join(rows)


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median of some times."""
    return f"{median(seconds) * 1e3:.0f} ms"


def draw(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw the step of median length of each way: its passes, and below them its sums."""
    from matplotlib.figure import Figure

    figure = Figure((9, 4.5), layout="constrained")
    for axes, way in zip(figure.subplots(2, 1, sharex=True), WAYS, strict=True):
        steps = sorted(found[way], key=lambda each: each["step"])
        each = steps[len(steps) // 2]
        passes = {"forward": (-each["forward"], 0.0), "backward": (0.0, each["backward"])}
        for name, (begin, end) in passes.items():
            axes.barh(name, 1e3 * (end - begin), left=1e3 * begin, color="tab:blue")
        for number, (begin, end) in enumerate(each["sums"]):
            name = f"sum {number + 1}: {each['bytes'][number] / 2**20:.3g} MiB"
            axes.barh(name, 1e3 * (end - begin), left=1e3 * begin, color="tab:orange")
        axes.axvline(1e3 * each["backward"], color="gray", linestyle=":")
        axes.axvline(1e3 * each["done"], color="black", linestyle=":")
        axes.invert_yaxis()
        axes.set_title(f"sums start {way}: {hidden(each):.0%} of them hidden", fontsize=10)
    axes.set_xlabel("ms since the backward pass began; dotted: its end, and that of the sums")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
