"""Arguments that commands share, and words that exclude each other."""

from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from bptrain.errors import UsageError

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="the experiment, a YAML file")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="keys to change, such as optimizer.lr=0.01"),
]
SearchWords = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUES...",
        help="a list a,b,c, or log(LOW,HIGH), uniform(LOW,HIGH), int(LOW,HIGH); or one value",
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")]
GradientMethods = Annotated[
    bool,
    typer.Option(
        "--gradient-methods",
        help="time one backward pass beside finite differences and forward mode instead, as the "
        "model grows",
    ),
]
OneOrTwoRuns = Annotated[
    list[Path], typer.Argument(metavar="RUN [RUN]", help="a run's folder, or those of two")
]
ManyRuns = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="runs' folders, or folders that hold runs")
]
ReportFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="the page, in place of report.html in the folder of the run"),
]
Evaluates = Annotated[
    bool,
    typer.Option(
        "--evaluate/--no-evaluate",
        help="evaluate the best state on the run's data, for its confusion and worst samples",
    ),
]
SortKey = Annotated[
    str,
    typer.Option(
        metavar="KEY", help="a metric, such as val/loss, a key of the config, name or time_s"
    ),
]
RunsFolder = Annotated[
    Path, typer.Argument(metavar="[RUNS]", help="the folder of the runs, or that of one")
]
Host = Annotated[str | None, typer.Option(help="address to listen at; 0.0.0.0 for other machines")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="6006, or the next one that is free")
]

RESUME_AUTO = "--resume-auto"


class Checkpoint(StrEnum):
    """Which state of a run."""

    best = "best"
    last = "last"


class SearchKind(StrEnum):
    """How a search draws values."""

    grid = "grid"
    random = "random"
    tpe = "tpe"


class Goal(StrEnum):
    """Whether a smaller or a larger metric is better."""

    min = "min"
    max = "max"


MODEL_KINDS = ("mlp", "cnn", "rnn", "transformer", "pretrained", "sequential")
# named here, as completion must answer without torch; a test compares them with the config's
DATA_KINDS = (
    *("digits", "mnist", "fashion_mnist", "table", "sequence", "xor", "spirals", "adding", "copy"),
    *("parity", "kmnist", "emnist", "cifar10", "cifar100", "image_folder", "image_table"),
    *("text", "text_table", "text_folder", "audio_folder"),
)


def complete_kind(incomplete: str) -> list[str]:
    """Return the kinds that begin so; the shell completes paths where there is none."""
    return [kind for kind in (*MODEL_KINDS, *DATA_KINDS) if kind.startswith(incomplete)]


KindOrPath = Annotated[
    str,
    typer.Argument(
        metavar="KIND|PATH",
        help="a kind of model or data, or the data: a table, a folder, a text or an .npz file",
        autocompletion=complete_kind,
    ),
]
TargetName = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="NAME", help="the column to predict, or the array of the targets"
    ),
]


class Proposed(StrEnum):
    """A kind of model that `init` proposes where it is asked to."""

    transformer = "transformer"
    pretrained = "pretrained"


ProposedModel = Annotated[
    Proposed | None,
    typer.Option("--model", help="the kind of model for the data, in place of a small one"),
]


class ConfigCommand(TyperCommand):
    """A command that takes a config and keys to change in it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the words left over; say how a key is written that was given as an option."""
        options = {option for each in self.get_params(ctx) for option in each.opts}
        for place, word in enumerate(args):
            name, equals, value = word.partition("=")
            is_key = "." in name or (equals and not get_close_matches(name, options))
            if not name.startswith("--") or name in options or not is_key:
                continue
            value = value if equals else "".join(args[place + 1 : place + 2])
            meant = f"{name[2:]}={value or 'VALUE'}"
            ctx.fail(f"No such option: {name}. Keys of the config have no dashes: {meant}")
        return super().parse_args(ctx, args)


class FitCommand(ConfigCommand):
    """`fit`, whose flag --resume may be given a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the words left over, with --resume=auto read as the flag that it stands for."""
        return super().parse_args(ctx, [RESUME_AUTO if w == "--resume=auto" else w for w in args])


def refuse_together(options: dict[str, bool], run_dir: Path | None) -> None:
    """Raise UsageError for two options of which each is a way to run, or for one without a run."""
    given = [option for option, is_given in options.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")
    if run_dir is not None and given and not given[0].startswith("--resume"):
        raise UsageError(f"{given[0]} leaves no run behind", hint="leave --run-dir out")
