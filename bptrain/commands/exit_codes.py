"""How a command ends: each error as a short message on stderr and a documented exit code."""

import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOMEM, ENOSPC
from io import TextIOWrapper
from types import FrameType

import typer

from bptrain.errors import (
    BptrainError,
    MemoryExhaustedError,
    StorageError,
    exit_code_of,
    printable,
)
from bptrain.train.signals import StopNow

SIGPIPE = getattr(signal, "SIGPIPE", 13)  # which Windows does not have
_INTERRUPTED = threading.Event()  # by Ctrl-C, since the command began
_RESERVE = [bytearray(2**20)]  # given back for the message when memory is used up


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Print an error in at most six lines and end with its documented exit code.

    A requested stop is no error, and has an exit code too, even where a library has made its own
    error of the KeyboardInterrupt that passed it.
    """
    _INTERRUPTED.clear()
    try:
        yield
    except BptrainError as error:
        if not error.is_told:
            _say(str(error))
        raise typer.Exit(exit_code_of(error)) from error
    except KeyboardInterrupt as error:
        number = error.signal_number if isinstance(error, StopNow) else signal.SIGINT
        raise _stopped(number) from error
    except typer.Exit:
        raise
    except BrokenPipeError as error:  # the reader, such as `head`, has seen enough
        _drop_output()
        raise typer.Exit(128 + SIGPIPE) from error
    except Exception as error:
        if _INTERRUPTED.is_set():
            raise _stopped(signal.SIGINT) from error
        shown = (
            _output_refused(error)
            or _memory_refused(error)
            or _file_refused(error)
            or _bug_report(error)
        )
        _say(str(shown))
        raise typer.Exit(shown.exit_code) from error


def _stopped(number: int) -> typer.Exit:
    """Say that a signal ended the command, and return its exit."""
    _say("stopped; nothing was left to save")
    return typer.Exit(128 + number)


def _say(message: str) -> None:
    """Print a message on stderr; where that is closed, full or gone, the exit code tells."""
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)


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
    is_memory = (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == ENOMEM
        or (isinstance(error, SystemError) and _memory_is_used_up())
    )
    if is_memory:
        _RESERVE.clear()
    return MemoryExhaustedError.of(str(error)) if is_memory else None


def _memory_is_used_up() -> bool:
    """Return whether no more memory is to be had.

    A function in C that has none left for its own error ends as a SystemError, "error return
    without exception set".
    """
    try:
        bytearray(2**24)
    except MemoryError:
        return True
    return False


def _file_refused(error: Exception) -> BptrainError | None:
    """Return the message for a named file that the system does not open; else None."""
    if not isinstance(error, OSError) or error.filename is None or error.strerror is None:
        return None
    return StorageError(
        f"{error.filename}: cannot be opened", error.strerror, "change its permissions or the path"
    )


def _bug_report(error: Exception) -> BptrainError:
    """Return the message for an unexpected error, with its traceback in a file if one can be."""
    text = printable("".join(traceback.format_exception(error)))
    hint = "report it"
    with suppress(OSError):
        with tempfile.NamedTemporaryFile(
            "w", prefix="bptrain-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        hint = f"report it with the traceback in {file.name}"
    return BptrainError("a bug in bptrain", f"{type(error).__name__}: {error}", hint)


def run_command_line(app: Callable[[], None]) -> None:
    """Run the command line, and flush stdout while an error can still be reported."""
    _prepare_streams()
    signal.signal(signal.SIGINT, _interrupt)
    try:
        try:
            app()
        finally:
            signal.signal(signal.SIGINT, _end_at_once)
            sys.stdout.flush()
    except SystemExit as ended:  # typer makes an exit with 1 of help that nobody reads
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        _drop_output()
        sys.exit(128 + SIGPIPE)
    except (OSError, MemoryError) as error:  # outside of a command, such as while words are parsed
        shown = _output_refused(error) or _memory_refused(error)
        if shown is not None:
            _say(str(shown))
            sys.exit(shown.exit_code)
        if not isinstance(error, BrokenPipeError):
            raise
        _drop_output()
        sys.exit(128 + SIGPIPE)


def _prepare_streams() -> None:
    """Let every text be printed: escaped where stdout's encoding lacks a letter of it.

    Streams that were closed (`>&-`) lead nowhere: the next file opened, a log or a checkpoint,
    would otherwise get the number of stdout, and whatever a library prints with it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
            os.set_inheritable(number, True)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End at once if an exception is being handled, such as an earlier Ctrl-C; else interrupt."""
    if sys.exc_info()[0] is not None:
        _end_at_once(number, frame)
    _INTERRUPTED.set()
    raise KeyboardInterrupt


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End without a traceback: what was to be stored is stored."""
    os._exit(128 + number)
