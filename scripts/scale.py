"""Compute docs/scale.md's tables and picture, and time gloo's all-reduce beside the model of it.

python scripts/scale.py             writes the tables and docs/scale.png
python scripts/scale.py --measure   times all-reduce with 2 and 4 processes of this machine, too
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import scale_model as model
from scale_model import FAMILIES, WAYS, Family, Link

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
PICTURE = PAGE.with_suffix(".png")
SECTIONS = ("families", "efficiency", "limits", "measured")
SHOWN_DEVICES = (2, 8, 64, 256, 1_000)
SIZES = tuple(2**exponent for exponent in (12, 16, 20, 22, 24))  # bytes, 4 KiB to 16 MiB
PROCESSES = (2, 4)
TURNS, WARMING = 9, 2
LIMIT_S = 300


def main() -> None:
    """Write the page's tables and picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measure", action="store_true", help="time all-reduce on this machine")
    parser.add_argument(
        "--worker", nargs=3, metavar=("RANK", "PROCESSES", "STORE"), help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    if given.worker:
        rank, processes, store = given.worker
        work(int(rank), int(processes), store)
        return
    families = [make() for make in FAMILIES]
    texts = {
        "families": family_table(families),
        "efficiency": efficiency_table(families),
        "limits": limit_table(families),
    }
    if given.measure:
        texts["measured"] = measured_table({n: measured(n) for n in PROCESSES})
    page = PAGE.read_text(encoding="utf-8")
    for name, text in texts.items():
        page = with_section(page, name, text)
    PAGE.write_text(page, encoding="utf-8")
    draw(families, PICTURE)


def with_section(page: str, name: str, text: str) -> str:
    """Return a page with the text between the two comments of a section replaced."""
    begin, end = f"<!-- {name}, by scripts/scale.py -->\n", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ValueError(f"{PAGE}: no section {name}")
    return f"{before}{begin}\n{text}\n\n{end}{after}"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, its first column text."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def family_table(families: Sequence[Family]) -> str:
    """Return what each network sends, and what its backward pass cannot hide."""
    rows = []
    for each in families:
        buckets = model.buckets_of(each)
        last = buckets[-1][1]
        rows.append(
            [
                each.name,
                f"{each.parameters / 1e6:.3g} M",
                f"{each.gradient_bytes / 1e6:.3g} MB",
                f"{each.batch:g}",
                f"{each.step_s * 1e3:.3g} ms",
                f"{len(buckets)}",
                f"{last / each.gradient_bytes:.0%}",
            ]
        )
    heading = ("network", "parameters", "gradients", "batch", "step", "buckets", "in the last one")
    return table(heading, rows)


def efficiency_table(families: Sequence[Family]) -> str:
    """Return the part of a step that computes, with overlap and in brackets without it."""
    rows = []
    for each in families:
        for way, all_reduce in WAYS.items():
            found = (
                (
                    model.efficiency(each, n, all_reduce),
                    model.efficiency(each, n, all_reduce, False),
                )
                for n in SHOWN_DEVICES
            )
            rows.append([each.name, way, *(f"{one:.0%} ({other:.0%})" for one, other in found)])
    return table(("network", "link", *(f"{n:,}" for n in SHOWN_DEVICES)), rows)


def limit_table(families: Sequence[Family]) -> str:
    """Return up to how many devices half of each step computes, and where a step is shortest."""
    rows = []
    for each in families:
        weak = [devices(model.pays_until(each, way)) for way in WAYS.values()]
        strong = [model.fastest(each, way) for way in WAYS.values()]
        rows.append([each.name, "more devices, more samples", *weak])
        rows.append(
            [each.name, "one batch, divided", *(f"{n:,}: {times:.3g} x" for n, times in strong)]
        )
    return table(("network", "", *WAYS), rows)


def devices(count: int) -> str:
    """Return a number of devices; the largest one that is looked at is none of them's limit."""
    return f"{count:,}" if count < model.MOST_DEVICES else f"{count:,} or more"


def draw(families: Sequence[Family], path: Path) -> None:
    """Draw the efficiency of each network over the number of devices."""
    from matplotlib.figure import Figure

    figure = Figure((12, 6.5), layout="constrained")
    counts = sorted({round(1.12**power) for power in range(62)} - {1} | {model.MOST_DEVICES})
    places = figure.subplots(2, 3).flat
    for axes, each in zip(places, families, strict=False):
        for way, all_reduce in WAYS.items():
            values = [model.efficiency(each, n, all_reduce) for n in counts]
            (line,) = axes.semilogx(counts, values, label=way)
            without = [model.efficiency(each, n, all_reduce, False) for n in counts]
            axes.semilogx(counts, without, ":", color=line.get_color())
        axes.set(title=each.name, xlabel="devices", ylabel="part that computes", ylim=(0, 1.02))
    last = list(figure.axes)[-1]
    last.axis("off")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    last.legend(handles, labels, title="solid: overlapped, dotted: after the backward pass")
    figure.savefig(path, dpi=100)


def measured(processes: int) -> dict[int, float]:
    """Return the least seconds of an all-reduce of each size by so many local processes."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "store"))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        started = [
            subprocess.Popen(  # noqa: S603  this file itself
                [sys.executable, __file__, "--worker", str(rank), str(processes), store],
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                env=environment,
                text=True,
            )
            for rank in range(processes)
        ]
        try:
            output, _ = started[0].communicate(timeout=LIMIT_S)
            if any(each.wait(LIMIT_S) for each in started):
                raise RuntimeError("a process failed")
        finally:
            for each in started:
                each.kill()
    return {int(size): seconds for size, seconds in json.loads(output).items()}


def work(rank: int, processes: int, store: str) -> None:
    """Time all-reduce as one of the processes; the first one prints the least times as JSON."""
    import torch
    from torch import distributed

    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=LIMIT_S),
    )
    found = {size: min(timed(distributed, torch.ones(size // 4))) for size in SIZES}
    distributed.barrier()
    if rank == 0:
        print(json.dumps(found))
    distributed.destroy_process_group()


def timed(distributed: Any, values: object) -> Iterator[float]:
    """Yield the seconds of each all-reduce, the first ones left out."""
    for turn in range(WARMING + TURNS):
        distributed.barrier()
        start = time.perf_counter()
        distributed.all_reduce(values)
        if turn >= WARMING:
            yield time.perf_counter() - start


def fitted(times: Mapping[int, float], processes: int) -> Link:
    """Return the link whose ring takes these times: latency by the smallest, bytes by the largest.

    2 (n-1) a is what the smallest takes, and 2 (n-1)/n B/W what the largest takes more.
    """
    small, large = min(times), max(times)
    latency = times[small] / (2 * (processes - 1))
    more = max(times[large] - times[small], 1e-9)
    return Link("fitted", 2 * (processes - 1) / processes * (large - small) / more, latency)


def milliseconds(seconds: float) -> str:
    """Return a time in three digits."""
    value = seconds * 1e3
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def measured_table(times: Mapping[int, Mapping[int, float]]) -> str:
    """Return measured times, and for more processes the model's, of the link that two have."""
    first = min(times)
    link = fitted(times[first], first)
    rows = []
    for size in sorted(times[first]):
        cells = [f"{size / 2**20:.3g} MiB"]
        for n, found in times.items():
            predicted = model.ring_s(n, size, link)
            ratio = found[size] / predicted
            cells += [milliseconds(found[size]), milliseconds(predicted), f"{ratio:.2f}"]
        rows.append(cells)
    heading = ["bytes"]
    for n in times:
        heading += [f"{n} processes", "model", "ratio"]
    load = f"{os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{table(heading, rows)}\n\nThe link of two processes: {link.bytes_per_s / 1e9:.2g} GB/s, "
        f"{link.latency_s * 1e6:.0f} us; least of {TURNS}; {os.cpu_count()} processors, load "
        f"average {load}."
    )


if __name__ == "__main__":
    main()
