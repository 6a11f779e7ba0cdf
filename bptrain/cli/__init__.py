"""Words typed by a person become one call. Importing this does not import torch."""

from collections.abc import Callable
from typing import Annotated

import typer

from bptrain import __version__
from bptrain.cli.configs import doctor_command, init_command, validate_command
from bptrain.cli.models import (
    bench_command,
    check_command,
    explain_command,
    lr_command,
    sweep_command,
    tape_command,
)
from bptrain.cli.runs import (
    board_command,
    compare_command,
    diagnose_command,
    evaluate_command,
    export_command,
    fit_command,
    import_command,
    predict_command,
    replay_command,
    report_command,
    serve_command,
    verify_resume_command,
)
from bptrain.commands.arguments import ConfigCommand, FitCommand
from bptrain.commands.exit_codes import run_command_line

app = typer.Typer(
    name="bptrain",
    help="Train networks whose backpropagation is written out by hand.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: dict[str, Callable[..., None]] = {  # in the order of --help
    "fit": fit_command,
    "board": board_command,
    "evaluate": evaluate_command,
    "predict": predict_command,
    "export": export_command,
    "import": import_command,
    "serve": serve_command,
    "diagnose": diagnose_command,
    "report": report_command,
    "compare": compare_command,
    "check": check_command,
    "bench": bench_command,
    "lr": lr_command,
    "sweep": sweep_command,
    "verify-resume": verify_resume_command,
    "replay": replay_command,
    "tape": tape_command,
    "explain": explain_command,
    "validate": validate_command,
    "init": init_command,
    "doctor": doctor_command,
}
for name, command in COMMANDS.items():
    takes_keys = "overrides" in command.__annotations__
    parser = FitCommand if name == "fit" else ConfigCommand if takes_keys else None
    app.command(name, cls=parser)(command)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[
        bool, typer.Option("--version", help="print the version", is_eager=True)
    ] = False,
) -> None:
    """Train networks whose backpropagation is written out by hand."""
    if show:
        print(f"bptrain {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    run_command_line(app)
