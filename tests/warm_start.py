"""What a server of forked processes imports and prepares, or each of them would.

It computes nothing with torch: a process that forks must have no threads to lose.
"""

import gc
import weakref
from functools import cache
from importlib import import_module

MODULES = (
    *("filelock", "polars", "sklearn.linear_model", "tensorboard"),
    *("bptrain.cli", "bptrain.experiment.reporting", "bptrain.monitor.tensorboard"),
    *(f"bptrain.commands.{name}" for name in ("evaluate", "fit", "predict_many", "validate")),
)


def import_all(*more: str) -> None:
    """Import what the commands import where they need it, and prepare pages and pictures."""
    for name in (*MODULES, *more):
        import_module(name)
    import numpy as np
    from PIL import Image

    from bptrain.experiment.config import ExperimentConfig
    from bptrain.tasks.plots import confusion_plot

    ExperimentConfig.model_rebuild()  # pydantic builds it when it is first used: a third of a run
    compile_templates()
    build_commands()
    confusion_plot(np.eye(2, dtype=np.int64), ["a", "b"])  # imports matplotlib and reads its font
    Image.preinit()
    gc.freeze()  # or the first collection in a child would copy every page
    leave_to_the_system()


def build_commands() -> None:
    """Build the commands from their functions once, which takes 30 ms."""
    import typer.main

    typer.main.get_command = cache(typer.main.get_command)
    from bptrain.cli import app

    typer.main.get_command(app)


def compile_templates() -> None:
    """Compile the templates of a run's report, which takes longer than a run of a few steps."""
    from bptrain.monitor.html_page import environment

    templates = environment("bptrain.monitor.report")
    for name in templates.list_templates():
        templates.get_template(name)


def leave_to_the_system() -> None:
    """Have no child take down at its exit what was imported here: it would copy 7000 pages."""
    registry = weakref.finalize._registry  # type: ignore[attr-defined]
    for each in list(registry):  # of torch's operators, most of them
        each.atexit = False
