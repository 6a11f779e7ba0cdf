"""`python -m bptrain`, and the `bptrain` command."""

import gc
import os
import signal

STOPPED = b"stopped; nothing was left to save\n"
POLARS_MEMORY = "dirty_decay_ms:200,muzzy_decay_ms:0"
"""Settings of the allocator that polars carries (jemalloc): freed memory goes back to the system
after 0.2 s, not 10: the most that a table of a million rows takes falls by 0.1 to 0.3 GB."""


def main() -> None:
    """Run the command line; a Ctrl-C while it is being imported ends it without a traceback."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", POLARS_MEMORY)
    gc.disable()  # and freeze, as commands/importing.py says, which is imported by this
    try:
        from bptrain.cli import main as run
    except KeyboardInterrupt:
        os.write(2, STOPPED)
        os._exit(128 + signal.SIGINT)
    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
