"""How a command ends: each error as a short message on stderr and a documented exit code."""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOMEM, ENOSPC

import typer

from bptrain.errors import (
    BptrainError,
    InterruptedRun,
    MemoryExhaustedError,
    StorageError,
    exit_code_of,
)
from bptrain.train.signals import StopNow

SIGPIPE = getattr(signal, "SIGPIPE", 13)  # which Windows does not have


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Print an error in at most six lines and end with its documented exit code.

    A requested stop is no error, and has an exit code too.
    """
    try:
        yield
    except InterruptedRun as stopped:
        with suppress(OSError):  # the terminal may be gone, which is why it was stopped
            print(stopped, file=sys.stderr)
        raise typer.Exit(exit_code_of(stopped)) from stopped
    except BptrainError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(exit_code_of(error)) from error
    except KeyboardInterrupt as error:
        number = error.signal_number if isinstance(error, StopNow) else signal.SIGINT
        print("stopped; nothing was left to save", file=sys.stderr)
        raise typer.Exit(128 + number) from error
    except typer.Exit:
        raise
    except BrokenPipeError as error:  # the reader, such as `head`, has seen enough
        _drop_output()
        raise typer.Exit(128 + SIGPIPE) from error
    except Exception as error:
        shown = _output_refused(error) or _memory_refused(error) or _bug_report(error)
        print(shown, file=sys.stderr)
        raise typer.Exit(shown.exit_code) from error


def _drop_output() -> None:
    """Discard what is still to be printed, or the flush at exit would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_refused(error: Exception) -> BptrainError | None:
    """Return the message if the disk that stdout is redirected to is full; else None."""
    if not isinstance(error, OSError) or error.errno not in (ENOSPC, EDQUOT, EFBIG):
        return None
    _drop_output()
    return StorageError(
        "the output cannot be written",
        error.strerror or str(error),
        "free space, or redirect it elsewhere",
    )


def _memory_refused(error: Exception) -> BptrainError | None:
    """Return the message for memory that is used up outside of `allocating`; else None."""
    is_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == ENOMEM
    return MemoryExhaustedError.of(str(error)) if is_memory else None


def _bug_report(error: Exception) -> BptrainError:
    """Return the message for an unexpected error, with its traceback in a file."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="bptrain-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    return BptrainError(
        "a bug in bptrain",
        f"{type(error).__name__}: {error}",
        f"report it with the traceback in {file.name}",
    )


def run_command_line(app: Callable[[], None]) -> None:
    """Run the command line, and flush stdout while an error can still be reported."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        shown = _output_refused(error)
        if shown is not None:
            print(shown, file=sys.stderr)
            sys.exit(shown.exit_code)
        if not isinstance(error, BrokenPipeError):
            raise
        _drop_output()
        sys.exit(128 + SIGPIPE)
