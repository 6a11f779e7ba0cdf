"""Mutated configs, data files, checkpoints, overrides and paths: no bug, no traceback, no excess.

python tests/fuzz/fuzzing.py --configs 5000 --data 2000 --checkpoints 2000 --words 1000 --logs 500
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import yaml  # noqa: E402
from checkpoints import rewrite_manifest  # noqa: E402
from forked import Ended, prepare, run  # noqa: E402
from kinds_of_data import KINDS  # noqa: E402
from mutations import EXTREMES, ConfigMutator, changed_bytes, changed_tree  # noqa: E402

CONFIG = "c.yaml"
RUN, WATCHED, FAILED = "run", "watched", "failed"
FIT = ("fit", CONFIG, "train.steps=2", "--run-dir", "new")
WATCHING = ("monitor.log_every=1", "monitor.max_overhead=null", "monitor.level=full")
FAILING = "optimizer={kind: sgd, lr: 1.0e+30}"
TRANSFORMER = "{kind: transformer, width: 8, depth: 1, heads: 2}"
PRETRAINED = "{kind: pretrained, preset: mobilenet_v3_small, weights: none, freeze: all but head}"
SUBJECTS = {  # every kind of data, some with a model of another kind
    **KINDS,
    **{
        f"{name} by transformer": replace(KINDS[name], model=TRANSFORMER)
        for name in ("digits", "text", "text_folder", "sequence of tags")
    },
    "image_folder by pretrained": replace(
        KINDS["image_folder"], model=PRETRAINED, data="kind: image_folder, root: data, size: 32"
    ),
}
TRAINED = (
    *("digits", "image_folder", "table of classes", "text", "sequence of tags", "text_table"),
    *("image_table of classes", "text_folder", "digits by transformer", "text by transformer"),
    "image_folder by pretrained",
)
COMMANDS = ("fit", "evaluate", "predict", "check", "validate", "init", "doctor")
OPTIONS = (
    *("--resume", "--run-dir", "--json", "--csv", "--dry-run", "--checkpoint", "--junit"),
    *("--length", "--seed", "--temperature", "--schema", "--fast-dev-run", "-h"),
)
PATHS = (
    *(CONFIG, RUN, ".", "..", "/", "/dev/null", "/dev/full", "gone", "x" * 300, "", "a\nb", "~"),
    *("run/config.yaml", "run/checkpoints", "run/lock", "\udcff", "\x1b[2J", "[/b]", "-"),
)
KEYS = (
    *("data.kind", "data.batch_size", "data.path", "data..kind", "model.kind", "model.hidden"),
    *("model.hidden.0", "model.layers.0.kind", "train", "train.steps", "optimizer", "optimizer.lr"),
    *("loss", "seed", "name", "device", "precision", "checkpoint.keep_last", "x", ""),
)


class Case(NamedTuple):
    """A command in a folder, and what was changed there."""

    words: Sequence[str]
    folder: Path
    change: str


class Ground:
    """Folders with the data of each kind and runs on some, which each case gets a copy of."""

    def __init__(self, root: Path, kinds: Sequence[str] = tuple(SUBJECTS)) -> None:
        self.root, self.kinds = root, list(kinds)
        self.trained = [name for name in TRAINED if name in kinds]
        self.with_files: list[str] = []
        for number, name in enumerate(self.kinds):
            folder = root / f"kind-{number}"
            folder.mkdir()
            with chdir(folder):
                SUBJECTS[name].write()
            (folder / CONFIG).write_text(config_text(name))
            if files_of(folder):
                self.with_files.append(name)
            if name in self.trained:
                fit = ("fit", CONFIG, "train.steps=2", "--run-dir", RUN)
                ended = run(fit, folder, draws=False)
                assert ended.code == 0, ended.output

    def draw_watched(self, random: Random) -> str:
        """Return a kind whose run fails; add that one, and one whose log holds all of verdicts."""
        for name in random.sample(self.trained, len(self.trained)):
            folder = self.root / f"kind-{self.kinds.index(name)}"
            if not (folder / WATCHED).exists():
                fit = ("fit", CONFIG, "train.steps=6", *WATCHING, "--run-dir")
                ended = run((*fit, WATCHED), folder, draws=False)
                assert ended.code == 0, ended.output
                run((*fit, FAILED, FAILING), folder)
            if (folder / FAILED / "failed").exists():
                return name
        raise AssertionError("no run fails")

    def copy(self, name: str) -> Path:
        """Return a new copy of a kind's folder, the only one that is left."""
        copy = self.root / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.root / f"kind-{self.kinds.index(name)}", copy)
        return copy


def config_text(name: str) -> str:
    """Return the config of a kind of data."""
    kind = SUBJECTS[name]
    return f"data: {{{kind.data}, batch_size: 16}}\nmodel: {kind.model}\ntrain: {{epochs: 1}}\n"


def configs(ground: Ground, random: Random) -> Iterator[Case]:
    """Yield commands on mutated configs."""
    mutator = ConfigMutator(random)
    while True:
        name = random.choice(ground.kinds)
        folder = ground.copy(name)
        text = mutator.changed(yaml.safe_load(config_text(name)))
        (folder / CONFIG).write_text(text, encoding="utf-8", errors="surrogatepass")
        draw = random.random()
        words = (
            FIT if draw < 0.6 else ("fit", CONFIG, "--dry-run") if draw < 0.9
            else ("fit", CONFIG, "--fast-dev-run") if draw < 0.95 else ("validate", CONFIG)
        )  # fmt: skip
        yield Case(words, folder, text)


def data(ground: Ground, random: Random) -> Iterator[Case]:
    """Yield commands on mutated data files."""
    while True:
        name = random.choice(ground.with_files)
        folder = ground.copy(name)
        path = random.choice(files_of(folder))
        path.write_bytes(changed_bytes(path.read_bytes(), random))
        words = FIT
        if name in ground.trained and random.random() < 0.3:
            words = ("predict", RUN, str(path.relative_to(folder)))
        yield Case(words, folder, f"{name}: {path.relative_to(folder)}")


def files_of(folder: Path) -> list[Path]:
    """Return the data files below a folder."""
    files = (each for each in folder.rglob("*") if each.is_file())
    return sorted(each for each in files if each.name not in (CONFIG, "output.txt")
                  and RUN not in each.relative_to(folder).parts)  # fmt: skip


def checkpoints(ground: Ground, random: Random) -> Iterator[Case]:
    """Yield commands on runs of which a file is mutated, half of them with checksums that agree."""
    while True:
        name = random.choice(ground.trained)
        folder = ground.copy(name)
        path = random.choice(sorted(each for each in (folder / RUN).rglob("*") if each.is_file()))
        path.write_bytes(changed_bytes(path.read_bytes(), random))
        sealed = path.parent.name.startswith("step-") and path.suffix != ".png"
        sealed = sealed and path.name != "manifest.json" and random.random() < 0.7
        if sealed:
            rewrite_manifest(path.parent)
        inputs = SUBJECTS[name].inputs
        words = random.choice(
            [("fit", CONFIG, "train.steps=4", "--run-dir", RUN, "--resume"), ("evaluate", RUN),
             ("evaluate", RUN, "--checkpoint", "last"), ("predict", RUN, *inputs)]
        )  # fmt: skip
        yield Case(words, folder, f"{name}: {path.relative_to(folder)}{', sealed' * sealed}")


def words(ground: Ground, random: Random) -> Iterator[Case]:
    """Yield commands with random words, overrides and paths."""
    while True:
        name = random.choice(ground.trained)
        folder = ground.copy(name)
        given: list[str] = []
        for _ in range(random.randint(0, 4)):
            draw = random.random()
            if draw < 0.4:
                given.append(f"{random.choice(KEYS)}={random.choice(EXTREMES)}")
            elif draw < 0.7:
                given.append(random.choice(OPTIONS))
            else:
                given.append(random.choice(PATHS))
        command = random.choice(COMMANDS)
        first = {"fit": [CONFIG], "check": [CONFIG], "evaluate": [RUN], "predict": [RUN]}
        if random.random() < 0.8:
            given[:0] = first.get(command, [])
        given += ["train.steps=2"] if command == "fit" else []
        yield Case([command, *(word.replace("\0", "") for word in given)], folder, name)


def logs(ground: Ground, random: Random) -> Iterator[Case]:
    """Yield commands that explain: on forged logs, on forged failed steps, on mutated configs."""
    mutator = ConfigMutator(random)
    while True:
        name = ground.draw_watched(random)
        folder = ground.copy(name)
        as_json = ["--json"] * random.randrange(2)
        match random.randrange(4):
            case 0:
                given, change = ["diagnose", WATCHED, *as_json], forged_log(folder, random)
            case 1:
                given = [random.choice(("replay", "diagnose")), FAILED, *as_json]
                change = forged_step(folder, random)
            case 2:
                files = sorted(each for each in (folder / FAILED).rglob("*") if each.is_file())
                path = random.choice(files)
                path.write_bytes(changed_bytes(path.read_bytes(), random))
                given, change = ["replay", FAILED, *as_json], path.name
            case _:
                change = mutator.changed(yaml.safe_load(config_text(name)))
                (folder / CONFIG).write_text(change, encoding="utf-8", errors="surrogatepass")
                sample = random.choice(("0", "3", "99999"))
                page = ["--html", "page.html"] * random.randrange(2)
                given = ["explain", CONFIG, "--sample", sample, "--steps", "1", *page]
        yield Case(given, folder, f"{name}: {change}")


def forged_log(folder: Path, random: Random) -> str:
    """Change the lines of a watched run, a few more of them than there were."""
    path = folder / WATCHED / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    longer = [{**line, "step": n} for n, line in enumerate(lines[:-1] * 3, 1)]
    forged = changed_tree(longer, random)
    forged = forged if isinstance(forged, list) else [forged]
    path.write_text("".join(json.dumps(line) + "\n" for line in forged))
    return f"{len(forged)} lines"


def forged_step(folder: Path, random: Random) -> str:
    """Change what a failed step stores, by values or by bytes, with checksums that agree."""
    (step,) = (folder / FAILED / "failed").iterdir()
    path = step / random.choice(("state.json", "state.json", "model.safetensors"))
    if path.suffix == ".json":
        path.write_text(json.dumps(changed_tree(json.loads(path.read_text()), random)))
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), random))
    rewrite_manifest(step)
    return path.name


AREAS: dict[str, Callable[[Ground, Random], Iterator[Case]]] = {
    "configs": configs, "data": data, "checkpoints": checkpoints, "words": words, "logs": logs
}  # fmt: skip


class Count(NamedTuple):
    """What came of the cases of an area."""

    codes: Counter[int]
    problems: list[str]
    slowest_s: float
    largest_bytes: int


def fuzz(area: str, ground: Ground, number: int, seed: int = 0, first: int = 0) -> Count:
    """Try the cases of an area, and return how they ended."""
    codes: Counter[int] = Counter()
    problems: list[str] = []
    slowest, largest = 0.0, 0
    for ordinal in range(first, number):
        # a generator of its own for each case: one can be tried again alone
        case = next(AREAS[area](ground, Random(f"{area} {seed} {ordinal}")))
        ended = run(case.words, case.folder)
        codes[ended.code] += 1
        slowest, largest = max(slowest, ended.cpu_s), max(largest, ended.peak_bytes)
        if ended.problem:
            problems.append(described(ordinal, case, ended))
            sys.stdout.write(f"{area} {problems[-1]}\n")
            sys.stdout.flush()
    return Count(codes, problems, slowest, largest)


def described(ordinal: int, case: Case, ended: Ended) -> str:
    """Return what a case was and how it ended."""
    lines = ended.output.strip().splitlines()
    return f"{ordinal}: {ended.problem}: {case.words} {case.change!r}: {' | '.join(lines[-4:])!r}"


def main(words: Sequence[str] | None = None) -> None:
    """Try as many cases of each area as the words, or the command line, say; write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for area in AREAS:
        parser.add_argument(f"--{area}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first case, to repeat one")
    parser.add_argument("--kinds", default="", help="of data, separated by commas; else all")
    parser.add_argument("--table", type=Path, help="a Markdown file to write the counts to")
    given = parser.parse_args(words)
    prepare()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        ground = Ground(Path(name), given.kinds.split(",") if given.kinds else tuple(SUBJECTS))
        counts = {
            area: fuzz(area, ground, number, given.seed, given.first)
            for area in AREAS
            if (number := getattr(given, area))
        }
    text = table(counts, given.seed)
    sys.stdout.write(text)
    if given.table:
        given.table.write_text(text, encoding="utf-8")
    sys.exit(any(count.problems for count in counts.values()))


def table(counts: dict[str, Count], seed: int) -> str:
    """Return the counts as a page in Markdown."""
    rows = [
        f"| {area} | {sum(each.codes.values()):,} | "
        f"{', '.join(f'{code}: {times:,}' for code, times in sorted(each.codes.items()))} | "
        f"{len(each.problems)} | {each.slowest_s:.1f} | {each.largest_bytes / 2**20:,.0f} |"
        for area, each in counts.items()
    ]
    return "\n".join([HEADING.format(seed=seed), *rows, ""])


HEADING = """# Fuzzing

`scripts/fuzz` (seed {seed}) changes configs, data files, the files of runs, and command lines at
random, and runs a command on each in a process of its own. Nothing may end with exit code 1 or by a
signal, print a traceback or a terminal escape, take more than 10 s of CPU time or more than 1 GiB
of memory. Configs are changed by keys, kinds and values that exist and by extreme ones; data files
and runs by bytes that are flipped, removed, repeated and overwritten; of the checkpoints that are
changed most have a manifest whose checksums agree again. The cases of `logs` are `diagnose` on
forged lines of a log, `replay` on forged failed steps and `explain` on changed configs.

| changed | cases | exit codes | problems | slowest (s) | most memory (MiB) |
|---|---|---|---|---|---|"""

if __name__ == "__main__":
    main()
