"""Errors that are shown to the user: one exception class per documented exit code.

An error says what and where, why, and what to try, in at most six lines; the traceback goes to
the run's `error.log` alone. `docs/exit-codes.md` lists the codes.
"""

import errno
import re
from typing import ClassVar, Final

_REMEDIES: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free space, or "),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions, or "),
    **dict.fromkeys(
        (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENXIO),
        "move away what is there, or ",
    ),
}
# what a terminal obeys or hides, all but tab and line ends: control characters, marks that change
# the direction of text, separators of lines, halves of characters
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufffe\uffff]|\r(?!\n)"
)
WIDTH = 200  # characters a quoted piece of user input may take in a message
LISTING_WIDTH = 600  # of the cause, which may list ten cells or files
PASTED_WIDTH = 2_000  # of a hint, which may be a line of the config to paste


class BptrainError(Exception):
    """An error the user can act on.

    what     names the thing and the place, `why` the cause, `hint` what to try next
    is_told  whether another process of the same job prints it
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.hint = what, why, hint
        self.is_told = False

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        if self.why:
            lines.append(f"  why: {self.why}")
        lines = [shorten(line, LISTING_WIDTH if line.startswith("  ") else WIDTH) for line in lines]
        if self.hint:
            lines.append(shorten(f"  try: {self.hint}", PASTED_WIDTH))
        return "\n".join(lines)


class UsageError(BptrainError):
    """A wrong command line or a wrong config."""

    exit_code = 2


class ConfigKeyError(UsageError):
    """A config value that turns out wrong only later, for instance when the data is read.

    key  leads to the value; `config.naming_lines` finds its line in the file
    """

    def __init__(
        self, key: tuple[str | int, ...], what: str, why: str = "", hint: str = ""
    ) -> None:
        super().__init__(f"{'.'.join(map(str, key))}: {what}", why, hint)
        self.key = key


class DataError(BptrainError):
    """Training data that is missing, damaged or not what the config says."""

    exit_code = 3


class CheckpointError(BptrainError):
    """A checkpoint that is missing, damaged or from another model."""

    exit_code = 4


class StorageError(BptrainError):
    """A file that cannot be written: full disk, read-only file system, no permission."""

    exit_code = 5

    @classmethod
    def refused(
        cls, place: object, error: OSError, instead: str = "choose another folder with --run-dir"
    ) -> "StorageError":
        """Return the error for an operation that the file system refused.

        instead  what to do where its remedy does not help
        """
        remedy = _REMEDIES.get(error.errno or 0, "")
        return cls(
            f"{place}: cannot be written",
            error.strerror or str(error),
            f"{remedy}{instead}",
        )


class NonFiniteError(BptrainError):
    """A loss or gradient that is NaN or infinite."""

    exit_code = 6


class MemoryExhaustedError(BptrainError):
    """An allocation that failed on the host or the device."""

    exit_code = 7

    @classmethod
    def of(cls, why: str) -> "MemoryExhaustedError":
        """Return the error for a failed allocation."""
        return cls(
            "out of memory",
            why or "the system has no free memory left",
            "a smaller data.batch_size or model",
        )


class WorkerError(BptrainError):
    """A data-loader worker process that ended or hangs."""

    exit_code = 8


class RunInUseError(BptrainError):
    """A run directory that another process is training in."""

    exit_code = 9


class RankError(BptrainError):
    """Another process of a job that failed, hangs, or trains something else."""

    exit_code = 10


class GradientError(BptrainError):
    """A hand-written gradient that `check` found wrong."""

    exit_code = 11


class VerdictError(BptrainError):
    """A verdict of a kind that `diagnose --fail-on` was given."""

    exit_code = 11


# that ask a run to save and stop: Ctrl-C, `kill`, a terminal that closes, a scheduler's warning,
# and Ctrl-Break, on Windows alone
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGBREAK")


class InterruptedRun(BptrainError):
    """A run stopped by a signal, after its checkpoint was written; it did as it was asked."""

    def __init__(self, signal_number: int, what: str, hint: str) -> None:
        super().__init__(what, hint=hint)
        self.signal_number = signal_number

    def __str__(self) -> str:
        return "\n".join(map(shorten, [self.what, f"  next: {self.hint}"]))


class TrialsError(BptrainError):
    """A search of which no trial came to its end; it ends with the exit code of a trial."""

    def __init__(self, what: str, why: str, of_trial: int) -> None:
        super().__init__(what, why, "the text of each run is in its folder logs")
        self.of_trial = of_trial


def exit_code_of(error: BptrainError) -> int:
    """Return the documented exit code: of an interrupted run 128 + signal, of a search a trial's.

    All others have that of their class.
    """
    if isinstance(error, InterruptedRun):
        return 128 + error.signal_number
    if isinstance(error, TrialsError):
        return error.of_trial
    return error.exit_code


def printable(text: str) -> str:
    r"""Return the text with what a terminal would obey as escapes: "\x1b[2J" as r"\x1b[2J"."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def shorten(text: str, width: int = WIDTH) -> str:
    """Return `text` on one printable line of at most `width` characters, its middle left out."""
    text = printable(" ".join(text.split("\n")))
    if len(text) <= width:
        return text
    half = (width - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
