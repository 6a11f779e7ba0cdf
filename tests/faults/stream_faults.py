"""Terminals and pipes that a run is started with: closed, full, or without most letters.

And permissions: root is refused nothing unless it gives up what lets it pass.
"""

import atexit
import ctypes
import os
import sys
from io import FileIO, TextIOWrapper
from signal import SIGINT

from kill_faults import at_call, send

CAPABILITY_VERSION = 0x20080522  # of Linux: two words for each set
PASS_PERMISSIONS = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


def close(*numbers: int) -> None:
    """Close streams, as `>&-` does."""
    for number in numbers:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)


def fill(number: int) -> None:
    """Redirect a stream to a full disk."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), number)


def close_reader(number: int) -> None:
    """Redirect a stream to a pipe whose reader has gone, as of `| head`, and keep nothing back."""
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, number)
    sys.stdout.reconfigure(write_through=True)


def only_ascii() -> None:
    """Print to a terminal that has no letter but ASCII's."""
    sys.stdout = TextIOWrapper(FileIO(1, "w", closefd=False), encoding="ascii")


def obey_permissions() -> None:
    """Let the permissions of files hold for root too."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        sets = (ctypes.c_uint32 * 6)()
        assert libc.capget(header, sets) == 0
        sets[0] &= ~PASS_PERMISSIONS
        assert libc.capset(header, sets) == 0


def interrupt_twice(target: str) -> None:
    """Press Ctrl-C when a function is called, and again while the first is answered."""
    at_call(target, 1, lambda: send([SIGINT]))
    at_call("bptrain.commands.exit_codes:_say", 1, lambda: send([SIGINT]))


def interrupt_at_exit() -> None:
    """Press Ctrl-C when all is done and the interpreter cleans up."""
    atexit.register(send, [SIGINT])
