"""`python -m bptrain`, and the `bptrain` command."""

import os
import signal


def main() -> None:
    """Run the command line; a Ctrl-C while it is being imported ends it without a traceback."""
    try:
        from bptrain.commands.importing import importing

        with importing():
            from bptrain.cli import main as run
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)
    run()


if __name__ == "__main__":
    main()
