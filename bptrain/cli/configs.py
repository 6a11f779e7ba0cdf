"""The commands that need neither data nor a model: their options, one call each."""

from pathlib import Path
from typing import Annotated

import typer

from bptrain.commands.arguments import KindOrPath, Overrides, ProposedModel, TargetName
from bptrain.commands.exit_codes import errors_to_exit_codes
from bptrain.commands.importing import importing
from bptrain.commands.output import Output
from bptrain.errors import UsageError


def validate_command(
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG")] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="print the JSON Schema")] = False,
) -> None:
    """Check CONFIG and report every error in it; run nothing."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.validate import print_schema, validate

        if schema:
            print_schema()
        elif config is None:
            raise UsageError("validate needs a CONFIG, or --schema")
        else:
            validate(config, overrides or [])


def init_command(
    kind_or_path: KindOrPath,
    target: TargetName = None,
    model: ProposedModel = None,
) -> None:
    """Print a commented config for a KIND or for the data at PATH."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.init import print_config

        print_config(kind_or_path, target, model and model.value)


def doctor_command() -> None:
    """Show the torch build, devices, threads, shared memory and versions."""
    with errors_to_exit_codes():
        with importing():
            from bptrain.commands.doctor import print_machine

        print_machine(Output())
