"""Damaged, forged or replaced files of a run, read by the commands.

The newest checkpoint's files are cut short at 64 places each, 200 bits of them are flipped, and
malicious files replace them (pickles, wrong headers, links, pipes, paths that lead elsewhere).
`fit --resume` must name the checkpoint that it skips, fall back to the one before it and end as
the reference run; `evaluate` and `predict` must end with exit code 4. Then states are forged whose
checksums agree: every value of `state.json` and one tensor of each kind in turn gets an invalid
value. The command must end with exit code 4, unless a run could have written that value. Last, each
file and folder of a run is damaged or replaced by a link, a pipe or a folder. An audit hook watches
all of this: a command may not import or start anything that it does not with a valid checkpoint,
write outside the run's folder, or hang.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hostile_states import forgeries
from launcher import Launcher
from malicious_checkpoints import ATTACKS
from PIL import Image
from reference_runs import ReferenceRuns, Run, difference, fresh, message_problem

from bptrain.rundir.checkpoint import list_checkpoints

Tally = Callable[..., None]
Damage = Callable[[Path], object]

EVERY = pytest.mark.faults  # not by default
SHORT = "train.steps=8"
FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
CUTS, FLIPS = 64, 200
COMMANDS = ("resume", "evaluate", "predict")
IMAGES = ("cnn", SHORT, "train.early_stopping={patience: 5}")
TEXTS = ("lstm", SHORT, "train.bptt=8")
MUON = ("mlp", SHORT, "optimizer={kind: muon, lr: 0.02}")
SEARCH = ("mlp", SHORT, "optimizer={kind: lbfgs, iterations: 3, lr: 0.5}")
INPUTS = {"cnn": ("picture.png",), "mlp": ("picture.png",), "lstm": ("round", "--length", 5)}
IN_FULL = [False, pytest.param(True, marks=EVERY)]

# forged values that a run could have written: no check can tell them from real ones
PLAUSIBLE = re.compile(
    # the checkpoint is skipped: its format is wrong, or its name says another step
    r"(step|states|metrics(/val/loss)?) is .*|.* is a tensor that is not there|tensor .* is missing"
    r"|states/(precision|early_stopping(/(best|metric))?) is .*"
    r"|states/schedule(/best)? is (missing|null|.* zero|a fraction|2\^70|10\^300)"
    r"|states/log/(step|elapsed_s|metrics|board/.*) is (a fraction|2\^70|10\^300|missing)"
    r"|states/log/digests(/.*)? is (missing|a mapping|text)"  # a change is told
    r"|states/(log/board|optimizer|carried|window) is a mapping"
    r"|states/optimizer/0(/al)? is missing"
    r"|states/monitor(/last)? is (missing|null)"  # steps are observed anew
    r"|states/(average/updates|early_stopping/waited|schedule/bad) is 2\^70"
    r"|states/schedule/share is a fraction"
    r"|states/optimizer/0/(func_evals|n_iter) is 2\^70"
    r"|states/optimizer/0/(t|prev_loss|H_diag) is (a fraction|2\^70|10\^300|.* zero)"
    r"|tensor optimizer/\d/.+ is (infinite|a scalar)"
    r"|tensor optimizer/0/al/\d is .*"  # LBFGS overwrites it before it reads it
    r"|tensor window/.+ is (of float64|of float16|transposed|flat|infinite|not a number)"
    r"|weight .+ is infinite"
)


@dataclass
class Victims:
    """Runs that are killed after their seventh step, and what commands do with valid ones."""

    launcher: Launcher
    reference_runs: ReferenceRuns
    usual: dict[tuple[object, ...], set[str]] = field(default_factory=dict)

    def stopped(self, kind: tuple[str, ...]) -> Run:
        """Return the run of a kind that the others are copies of."""
        name = "".join(letter for letter in "-".join(kind) if letter.isalnum())
        run = Run(self.launcher, self.reference_runs.folder / f"stopped-{name}", kind[0], kind[1:])
        if not run.run_dir.exists():
            Image.new("L", (8, 8), 255).save(run.folder / "picture.png")
            assert run.go("kill_faults:kill_after_step", 7)[0] == -9
            assert len(list_checkpoints(run.checkpoints)) >= 2
        return run

    def copy(self, kind: tuple[str, ...], work_dir: Path, name: object) -> Run:
        """Return a copy; remove what is left of the earlier ones."""
        run = fresh(self.launcher, work_dir, name, *kind)
        shutil.copytree(self.stopped(kind).folder, run.folder, dirs_exist_ok=True)
        return run

    def command(self, run: Run, command: str) -> tuple[int, str, set[str]]:
        """Return exit code, stderr and what the audit hook reported."""
        if command == "resume":
            words = run.words(resume=True)
        elif command == "evaluate":
            words = ["evaluate", "run", "--checkpoint", "last"]
        else:
            words = ["predict", "run", *INPUTS[run.kind], "--checkpoint", "last"]
        report = run.folder / "audit"
        report.unlink(missing_ok=True)
        audit = ("audit_faults:watch", [str(report)])
        code, stderr = self.launcher.run(words, run.folder, *audit, draws=False)
        return code, stderr, set(json.loads(report.read_text())) if code >= 0 else set()

    def unusual(self, run: Run, command: str, did: set[str]) -> str:
        """Return what a command did that it does not do with a valid or a cut checkpoint."""
        key = (run.kind, *run.changes, command)
        if key not in self.usual:
            self.usual[key] = set()
            for damage in (lambda _: None, lambda file: os.truncate(file, 10)):
                valid = self.copy((run.kind, *run.changes), run.folder.parent / "usual", command)
                damage(list_checkpoints(valid.checkpoints)[-1] / FILES[0])
                self.usual[key] |= self.command(valid, command)[2]
        return ", ".join(sorted(did - self.usual[key]))


@pytest.fixture(scope="module")
def victims(launcher: Launcher, reference_runs: ReferenceRuns) -> Victims:
    """Return runs to be damaged."""
    return Victims(launcher, reference_runs)


def problem_with_refusal(
    victims: Victims, run: Run, command: str, codes: Sequence[int] = (4,)
) -> str:
    """Run a command that must fail; return what is wrong with its end."""
    newest = next((each.name for each in reversed(list_checkpoints(run.checkpoints))), "")
    code, stderr, did = victims.command(run, command)
    if code not in codes and not (code == 0 and newest and is_skipped(run, newest)):
        return f"{command}: exit {code}: {stderr}"
    if unusual := victims.unusual(run, command, did):
        return f"{command}: it did {unusual}"
    return message_problem(stderr) if code else ""


def is_skipped(run: Run, name: str) -> bool:
    """Return whether a resume said that it skips a checkpoint, and began from the one before."""
    return f"skipped: run/checkpoints/{name}" in (run.folder / "stdout.txt").read_text()


def problem_with_fallback(victims: Victims, run: Run, reference: Path) -> str:
    """Resume a run whose newest checkpoint is damaged; return what is wrong with its end."""
    newest = next((each.name for each in reversed(list_checkpoints(run.checkpoints))), "")
    code, stderr, did = victims.command(run, "resume")
    stdout = (run.folder / "stdout.txt").read_text()
    if code:
        return f"resume: exit {code}: {stderr}"
    if not is_skipped(run, newest):
        return f"it does not say what it skips: {stdout}"
    if unusual := victims.unusual(run, "resume", did):
        return f"resume: it did {unusual}"
    for name in ("outside", "elsewhere"):  # link targets that the damage created
        path = run.run_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return difference(reference, run.run_dir)


def damages(content: bytes, in_full: bool) -> Iterator[tuple[str, bytes]]:
    """Yield a description of each damage, and the damaged content."""
    random = Random(len(content))
    for part in range(CUTS) if in_full else (CUTS // 2,):
        yield f"cut at {part} of {CUTS}", content[: len(content) * part // CUTS]
    for bit in random.sample(range(8 * len(content)), FLIPS // len(FILES) if in_full else 1):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(flipped)


@pytest.mark.parametrize("in_full", IN_FULL)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_the_newest_checkpoint_is_found_and_the_one_before_it_is_used(
    victims: Victims,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Tally,
    name: str,
    in_full: bool,
) -> None:
    found, reference = [], reference_runs.of(*IMAGES)
    newest = list_checkpoints(victims.stopped(IMAGES).checkpoints)[-1].name
    content = (victims.stopped(IMAGES).checkpoints / newest / name).read_bytes()
    for number, (what, damaged) in enumerate(damages(content, in_full)):
        run = victims.copy(IMAGES, work_dir, number)
        (run.checkpoints / newest / name).write_bytes(damaged)
        wrong = problem_with_refusal(victims, run, "evaluate") or problem_with_refusal(
            victims, run, "predict"
        )
        wrong = wrong or problem_with_fallback(victims, run, reference.run_dir)
        found += [f"{name} {what}: {wrong}"] * bool(wrong)
        tally(f"{name} {'cut short' if 'cut' in what else 'with a bit flipped'}", wrong)
    assert found == []


def test_where_no_checkpoint_is_valid_every_command_says_so(
    victims: Victims, work_dir: Path, tally: Tally
) -> None:
    for name in FILES:
        run = victims.copy(IMAGES, work_dir, name)
        for path in list_checkpoints(run.checkpoints):
            os.truncate(path / name, 100)
        for command in COMMANDS:
            wrong = problem_with_refusal(victims, run, command)
            tally("all checkpoints damaged", wrong)
            assert not wrong


def chosen(names: Sequence[str], by_default: int) -> list[object]:
    """Return parameters of a test, every n-th of which is tried by default."""
    return [
        pytest.param(name, marks=EVERY if number % by_default else ())
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("name", chosen(list(ATTACKS), 12))
def test_a_malicious_checkpoint_is_skipped_and_executes_nothing(
    victims: Victims, reference_runs: ReferenceRuns, work_dir: Path, tally: Tally, name: str
) -> None:
    run, reference = victims.copy(IMAGES, work_dir, "harmed"), reference_runs.of(*IMAGES)
    ATTACKS[name](list_checkpoints(run.checkpoints)[-1])
    wrong = problem_with_refusal(victims, run, "evaluate") or problem_with_refusal(
        victims, run, "predict"
    )
    wrong = wrong or problem_with_fallback(victims, run, reference.run_dir)
    wrong = wrong or "it ran" * (run.folder / "bptrain-was-here").exists()
    tally("malicious files in a checkpoint", wrong)
    assert not wrong


def expected_codes(name: str, command: str) -> tuple[int, ...]:
    """Return the exit codes that a forged state may lead to."""
    if command != "resume":  # they read only the weights of the state
        return (0, 3, 4, 6)
    if name.startswith("states/progress/samples is"):
        return 3, 4  # other data: this number is how a resume recognizes them
    if name.endswith(("not a number", "infinite")):
        return (0, 4, 6) if PLAUSIBLE.fullmatch(name) else (4, 6)
    return (0, 4) if PLAUSIBLE.fullmatch(name) else (4,)


@pytest.mark.parametrize("in_full", IN_FULL)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(IMAGES, id="cnn")]
    + [
        pytest.param(kind, id=name, marks=EVERY)
        for kind, name in ((TEXTS, "lstm"), (MUON, "muon"), (SEARCH, "lbfgs"))
    ],
)
def test_a_forged_state_with_checksums_that_agree_is_refused_or_plausible(
    victims: Victims, work_dir: Path, tally: Tally, kind: tuple[str, ...], in_full: bool
) -> None:
    found = []
    valid = list_checkpoints(victims.stopped(kind).checkpoints)[-1]
    forged = list(forgeries(valid).items())
    assert len(forged) > 200
    for number, (name, forge) in enumerate(forged if in_full else forged[7 :: len(forged) // 4]):
        run = victims.copy(kind, work_dir, number)
        forge(run.checkpoints / valid.name)
        reads = name.startswith(("states is", "states/average", "weight", "tensor average"))
        wrong = ""
        for command in COMMANDS[::-1] if reads else COMMANDS[:1]:
            codes = expected_codes(name, command)
            wrong = wrong or problem_with_refusal(victims, run, command, codes)
        found += [f"{name}: {wrong}"] * bool(wrong)
        tally("states forged with checksums that agree", f"{name}: {wrong}" * bool(wrong))
    assert found == []


def in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def link_to_a_copy(path: Path) -> None:
    outside = next(each for each in path.parents if each.name == "run").parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def instead(make: Callable[[Path], object]) -> Damage:
    """Return a function that replaces a file or folder by something else."""

    def damage(path: Path) -> None:
        remove(path)
        make(path)

    return damage


FOR_ALL: dict[str, Damage] = {
    "missing": remove,
    "a link to a copy elsewhere": link_to_a_copy,
    "a link that leads nowhere": instead(lambda path: path.symlink_to(path.parent / "nowhere")),
    "a pipe": instead(os.mkfifo),
}
FOR_FILES: dict[str, Damage] = {
    "cut in half": in_half,
    "empty": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "a tebibyte": lambda path: os.truncate(path, 2**40),
    "a folder": instead(Path.mkdir),
    **FOR_ALL,
}
FOR_FOLDERS: dict[str, Damage] = {"a file": instead(Path.touch), **FOR_ALL}
PLACES = {
    "config.yaml": FOR_FILES,
    "environment.json": FOR_FILES,
    "error.log": FOR_FILES,
    "lock": FOR_FILES,
    "metrics.jsonl": FOR_FILES,
    "prepared.json": FOR_FILES,
    "baselines.json": FOR_FILES,
    "tensorboard/events.out.tfevents.*": FOR_FILES,
    "checkpoints": FOR_FOLDERS,
    "tensorboard": FOR_FOLDERS,
    "pictures": FOR_FOLDERS,
    "pictures/step-*": FOR_FOLDERS,
    "pictures/step-*/confusion.png": FOR_FILES,
    "report.html": FOR_FILES,
}
FOLLOWED = (
    "checkpoints",
    "a link to a copy elsewhere",
)  # a link to a folder on another disk is common
REPLACED = [(place, how) for place, damages_of_place in PLACES.items() for how in damages_of_place]


def seen(path: Path) -> dict[str, bytes]:
    """Return a file's content, or those of a folder's files, by path."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {str(each): each.read_bytes() for each in files if each.is_file()}


@pytest.mark.parametrize(
    ("place", "how"),
    [
        pytest.param(place, how, marks=EVERY if number % 31 else ())
        for number, (place, how) in enumerate(REPLACED)
    ],
)
def test_damage_anywhere_in_a_runs_folder_is_reported_or_tolerated(
    victims: Victims,
    reference_runs: ReferenceRuns,
    work_dir: Path,
    tally: Tally,
    place: str,
    how: str,
) -> None:
    reference = reference_runs.of(*IMAGES)
    for command in COMMANDS:
        run = victims.copy(IMAGES, work_dir, command)
        if place.startswith(("pictures", "report", "baselines")):  # which only a finished run has
            shutil.copytree(reference.run_dir, run.run_dir, dirs_exist_ok=True)
        (run.run_dir / "error.log").write_text("of a failure before")
        PLACES[place][how](next(run.run_dir.glob(place)))
        before = seen(run.folder / "outside")
        if (place, how) == FOLLOWED:
            code, stderr, _ = victims.command(run, command)
            tally("checkpoints/ replaced by a link to a folder", stderr * bool(code))
            assert code == 0, stderr
            continue
        wrong = problem_with_refusal(victims, run, command, (0, 2, 4, 5))
        if seen(run.folder / "outside") != before or list(run.folder.rglob("nowhere")):
            wrong = wrong or f"{command}: it wrote elsewhere"
        tally(f"{place.partition('.out')[0]} replaced or damaged", f"{how}: {wrong}" * bool(wrong))
        assert not wrong
