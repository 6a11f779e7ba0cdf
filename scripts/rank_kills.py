"""Kill a process of several at a random time, have the job start again, and compare what comes out.

python scripts/rank_kills.py                       20 jobs of two processes, 20 of three; a table
... --ranks 2 --trials 50 --seed 1 --config c.yaml other jobs
... --hang --trials 3                              stops a process (SIGSTOP) in place of killing it

The jobs are started by the agent that torchrun consists of (torch.distributed.launcher), which
starts all processes again once one has ended (`--max-restarts 1`), as `fit ... --resume=auto`.
Their processes are forked from this one, which has imported everything.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CONFIG = """
data: {kind: digits, batch_size: 64}
model: {kind: mlp, hidden: [32], dropout: 0.2}
train: {epochs: 3, ema_decay: 0.9}
checkpoint: {every_steps: 5}
"""
LONGEST_S = 600.0
POLL_S = 0.005
SAME, ROUNDED, OTHER = "the same bits", "equal to 1e-6", "something else"


class Trial(NamedTuple):
    """What became of a job.

    rank  that was killed, None if it had ended before
    step  of the newest checkpoint then; None if there was none
    end   how its last state compares with that of a job that nobody killed; or why there is none
    s     seconds from the kill to the end
    """

    rank: int | None
    step: int | None
    end: str
    s: float


def main() -> None:
    """Run the jobs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--trials", type=int, default=20, help="jobs of each number of processes")
    parser.add_argument("--seed", type=int, default=0, help="of the times and the processes")
    parser.add_argument("--config", type=Path, help="in place of a small one of digits")
    parser.add_argument("--hang", action="store_true", help="SIGSTOP, and no restart")
    given = parser.parse_args()
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/experiment")]
    from jobs import import_all

    import_all("torch.distributed.launcher.api", "torch.distributed.elastic.multiprocessing.api")
    text = given.config.read_text() if given.config else CONFIG
    attempt = hang if given.hang else kill
    for count in given.ranks:
        draw = random.Random(f"{given.seed} {count}")  # noqa: S311  no secret
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            Path("c.yaml").write_text(text)
            began = time.monotonic()
            assert finished(start("whole", count, restarts=0)), Path("whole.0.0.txt").read_text()
            usual_s = time.monotonic() - began
            trials = [attempt(f"job{n}", count, draw, usual_s) for n in range(given.trials)]
            os.chdir(ROOT)
        print(row(count, trials, is_hang=given.hang), flush=True)


def kill(name: str, count: int, draw: random.Random, usual_s: float) -> Trial:
    """Kill a process of a job at a time within what it usually takes; let the job end."""
    agent = start(name, count, restarts=1)
    rank, step = strike(name, count, draw, usual_s, signal.SIGKILL)
    began = time.monotonic()
    end = compared("whole", name) if finished(agent) else "failed"
    return Trial(rank, step, end, time.monotonic() - began)


def hang(name: str, count: int, draw: random.Random, usual_s: float) -> Trial:
    """Stop a process of a job, which nobody continues; tell how the job ends."""
    agent = start(name, count, restarts=0)
    rank, step = strike(name, count, draw, usual_s, signal.SIGSTOP)
    began = time.monotonic()
    if finished(agent):
        return Trial(None, step, "had ended", time.monotonic() - began)
    codes = json.loads(Path(f"{name}.codes").read_text())
    said = [Path(f"{name}.0.{each}.txt").read_text() for each in range(count)]
    named = sum(f"rank {rank} was killed or hangs" in each for each in said)
    return Trial(rank, step, f"named by {named}, exit codes {codes}", time.monotonic() - began)


def strike(
    name: str, count: int, draw: random.Random, usual_s: float, number: signal.Signals
) -> tuple[int | None, int | None]:
    """Send a signal to a random process at a random time; return which, and the step by then."""
    rank, wait_s = draw.randrange(count), draw.uniform(0, usual_s)
    pid_file = Path(f"{name}.0.{rank}.pid")
    began = time.monotonic()
    while not pid_file.exists() or time.monotonic() < began + wait_s:
        time.sleep(POLL_S)
    stored = Path(name).glob("checkpoints/step-*[0-9]")
    steps = [int(path.name.rpartition("-")[2]) for path in stored]
    with suppress(ProcessLookupError):
        os.kill(int(pid_file.read_text()), number)
        return rank, max(steps, default=None)
    return None, max(steps, default=None)


def start(name: str, count: int, restarts: int) -> int:
    """Fork a process that is a job's torchrun; return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = launch(name, count, restarts)
    finally:
        os._exit(code)


def launch(name: str, count: int, restarts: int) -> int:
    """Run a job as torchrun does; return its exit code, and write those of its processes."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with Path(f"{name}.agent.txt").open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=restarts,
        monitor_interval=0.1,
        start_method="fork",
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        elastic_launch(config, fit)(name)
    except ChildFailedError as error:
        codes = {rank: each.exitcode for rank, each in error.failures.items()}
        Path(f"{name}.codes").write_text(json.dumps(codes))
        return 1
    return 0


def fit(name: str) -> None:
    """Be a process of a job: `bptrain fit`, which writes its output and its id into files."""
    attempt, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
    own = f"{name}.{attempt}.{rank}"
    with Path(f"{own}.txt").open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    Path(f"{own}.new").write_text(str(os.getpid()))
    Path(f"{own}.new").rename(f"{own}.pid")
    from bptrain.cli import app

    app(["fit", "c.yaml", "--run-dir", name, "--resume=auto"])


def finished(agent: int) -> bool:
    """Wait for a job; return whether it ended well."""
    limit = time.monotonic() + LONGEST_S
    while time.monotonic() < limit:
        found, status = os.waitpid(agent, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(POLL_S)
    os.kill(agent, signal.SIGTERM)  # which ends its processes
    os.waitpid(agent, 0)
    return False


def compared(one: str, other: str) -> str:
    """Return how the last states of two runs compare: all tensors of their checkpoints."""
    import torch

    from bptrain.rundir.checkpoint import newest_valid

    states = [newest_valid(Path(name, "checkpoints"))[1] for name in (one, other)]
    first, second = ({**state.model, **state.rest()[1]} for state in states)
    if states[0].step != states[1].step or first.keys() != second.keys():
        return OTHER
    pairs = [(first[name], second[name]) for name in first]
    if all(torch.equal(*pair) for pair in pairs):
        return SAME
    is_close: Callable[..., bool] = torch.allclose
    return ROUNDED if all(is_close(*pair, rtol=1e-6, atol=1e-7) for pair in pairs) else OTHER


def row(count: int, trials: list[Trial], *, is_hang: bool) -> str:
    """Return a line of the table of jobs of so many processes."""
    hit = [each for each in trials if each.rank is not None]
    ends = ", ".join(f"{n} {what}" for what, n in Counter(each.end for each in hit).items())
    seconds = sorted(each.s for each in hit)
    if is_hang:
        return f"| {count} | {len(hit)} | {ends} | {seconds[0]:.0f} to {seconds[-1]:.0f} s |"
    before = sum(each.step is None for each in hit)
    first = sum(each.rank == 0 for each in hit)
    return f"| {count} | {len(hit)} | {first} | {before} | {ends} |"


if __name__ == "__main__":
    main()
