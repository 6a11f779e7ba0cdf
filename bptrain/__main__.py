"""`python -m bptrain`, and the `bptrain` command."""

import gc
import os
import signal

STOPPED = b"stopped; nothing was left to save\n"


def main() -> None:
    """Run the command line; a Ctrl-C while it is being imported ends it without a traceback."""
    gc.disable()  # as commands/importing.py says, which is imported by this
    try:
        from bptrain.cli import main as run
    except KeyboardInterrupt:
        os.write(2, STOPPED)
        os._exit(128 + signal.SIGINT)
    gc.enable()
    run()


if __name__ == "__main__":
    main()
