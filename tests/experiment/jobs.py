"""Run jobs of several processes: a program that imports bptrain once, and forks their processes.

The processes of a job get what torchrun gives to its own: RANK, WORLD_SIZE and a store to meet at.
Started as `jobs.py JOBS.json RESULTS.json`, it runs one job after the other in the present folder;
those that mostly wait run beside the others.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

HOST = "127.0.0.1"
OF_FULLY_SHARD = ("torch.distributed.fsdp", "torch._dynamo")  # the latter by its hooks
LONGEST_S = 300.0  # on a busy machine; seconds are usual


@dataclass(frozen=True)
class Job:
    """A job: `bptrain fit` in some processes.

    words      of the command line after `fit`
    own        words of one rank besides, by its number
    signal     after which step the last rank sends itself a signal
    concludes  whether the best state is tested at the end
    waits      whether it mostly waits, and can run beside the next ones
    bad        training samples whose inputs are NaN
    counts     whether each rank writes how many numbers it holds, into a file of its own
    """

    name: str
    ranks: int
    words: list[str]
    own: dict[str, list[str]] = field(default_factory=dict)
    signal: tuple[int, int] | None = None
    concludes: bool = False
    waits: bool = False
    bad: list[int] = field(default_factory=list)
    counts: bool = False


def started(job: Job, rank: int, port: int) -> int:
    """Fork a process of a job; return its id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        out = os.open(f"{job.name}.{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job.ranks, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        os.environ |= {"MASTER_ADDR": HOST, "TORCHELASTIC_USE_AGENT_STORE": "True"}
        # jobs that follow each other are to those who meet as restarts of one
        os.environ["TORCHELASTIC_RUN_ID"] = job.name if job.waits else "all others"
        code = run(job, rank)
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(job: Job, rank: int) -> int:
    from bptrain.cli import app
    from bptrain.experiment import session, training

    if job.signal is not None and rank == job.ranks - 1:
        session.fit = interrupted(session.fit, *job.signal)
    if job.counts:
        session.fit = counted(session.fit, Path(f"{job.name}.{rank}.json"))
    if not job.concludes:
        training.conclude = lambda *_: None
    if job.bad:
        spoil(job.bad)
    try:
        app(["fit", *job.words, *job.own.get(str(rank), [])])
    except SystemExit as ended:
        return ended.code or 0
    return 0


def interrupted(fit: Callable[..., Any], step: int, number: int) -> Callable[..., Any]:
    """Return the loop, in which the process sends itself a signal after a step."""

    def steps(*arguments: Any) -> Iterator[Any]:
        for report in fit(*arguments):
            if report.position.step == step:
                os.kill(os.getpid(), number)
            yield report

    return steps


def spoil(samples: list[int]) -> None:
    """Make the inputs of training samples NaN, in every batch that has one of them."""
    import torch

    from bptrain.data.batches import Batches

    select, bad = Batches.select, torch.tensor(samples)

    def selected(batches: Any, device_rows: Any, rows: Any) -> Any:
        batch = select(batches, device_rows, rows)
        if not isinstance(rows, torch.Tensor):  # of an evaluation
            return batch
        (x,) = batch.inputs
        is_bad = torch.isin(rows, bad).view(-1, *[1] * (x.dim() - 1))
        return batch._replace(inputs=(x.masked_fill(is_bad, float("nan")),))

    Batches.select = selected


def counted(fit: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """Return the loop, in which the process writes what it holds after the first step."""

    def steps(engine: Any, batches: Any, update: Any, *others: Any) -> Iterator[Any]:
        for report in fit(engine, batches, update, *others):
            if report.position.step == 1:
                trained = update.gradients.parameters
                kept = [e for of in update.optimizer.state.values() for e in of.values()]
                held = [part.to_local() for part in engine.model.parameters()]
                found = {"trained": trained, "optimizer": kept, "model": held}
                numbers = {k: sum(e.numel() for e in each) for k, each in found.items()}
                path.write_text(json.dumps(numbers))
            yield report

    return steps


def finish(job: Job, port: int) -> dict[str, Any]:
    """Run a job to its end; return the exit code of each rank, and the seconds that it took."""
    began = time.monotonic()
    left = {started(job, rank, port): rank for rank in range(job.ranks)}
    codes: dict[int, int] = {}
    while left:
        ended = [each for each in map(ended_child, left) if each is not None]
        for child, code in ended:
            codes[left.pop(child)] = code
        if ended:
            hangs = job.signal is not None and job.signal[1] == signal.SIGSTOP
            if hangs and len(left) == 1:  # the one that hangs, which torchrun would kill
                os.kill(*left, signal.SIGKILL)
            continue
        if time.monotonic() - began > LONGEST_S:
            for each in left:
                os.kill(each, signal.SIGKILL)
        time.sleep(0.01)
    return {"codes": [codes[rank] for rank in range(job.ranks)], "s": time.monotonic() - began}


def ended_child(child: int) -> tuple[int, int] | None:
    """Return a child that has ended and its exit code, None before."""
    found, status = os.waitpid(child, os.WNOHANG)
    return (found, os.waitstatus_to_exitcode(status)) if found else None


def finish_beside(job: Job, port: int) -> Callable[[], dict[str, Any]]:
    """Run a job in a process of its own; return a function that waits for what `finish` returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(finish(job, port)).encode())
        os._exit(0)
    os.close(writing)

    def result() -> dict[str, Any]:
        with os.fdopen(reading) as pipe:
            found: dict[str, Any] = json.load(pipe)
        os.waitpid(child, 0)
        return found

    return result


def import_all(*more: str) -> None:
    """Import what a run needs, and more modules, so that its processes have it."""
    from fingerprints import draw_fingerprints
    from warm_start import import_all as import_commands

    import_commands(*more)

    def replace(place: str, value: Any) -> None:
        module, _, name = place.rpartition(".")
        __import__(module)
        setattr(sys.modules[module], name, value)

    draw_fingerprints(replace)


def main(jobs: str, results: str) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    are_sharded = "sharded" in Path(jobs).read_text()
    import_all(*OF_FULLY_SHARD * are_sharded)
    # as torchrun holds one, over all restarts: each job finds the words of those before it
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
    listed = [Job(**each) for each in json.loads(Path(jobs).read_text())]
    found, beside = {}, {}
    for job in listed:
        if job.waits:
            beside[job.name] = finish_beside(job, store.port)
        else:
            found[job.name] = finish(job, store.port)
    found |= {name: result() for name, result in beside.items()}
    Path(results).write_text(json.dumps(found))


def as_json(jobs: list[Job]) -> str:
    """Return jobs as the program reads them."""
    return json.dumps([asdict(job) for job in jobs])


if __name__ == "__main__":
    main(*sys.argv[1:])
