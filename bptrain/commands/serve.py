"""`serve`: a run's model as an HTTP service.

Two processes: this one talks HTTP, without torch. One of its own, within limits of memory and time,
has the model and reads what is sent.
"""

import json
import socket
from pathlib import Path

from rich.console import Console

from bptrain.commands.serving.limits import Limits
from bptrain.errors import UsageError
from bptrain.experiment.bounded_process import Answer, BoundedProcess, half_of_free_memory

CONNECTIONS = 100  # besides those of requests that are worked on
KEEP_ALIVE_S = 5
WITH_THE_MODEL = "bptrain.commands.serving.model_process"  # what that process imports


def serve(
    run_dir: Path, which: str, address: tuple[str, int], limits: Limits, console: Console
) -> None:
    """Serve a run's best or last state at an address until a signal stops it.

    Raises UsageError without the packages of the extra, for an address that is taken and for a
    folder without a run, CheckpointError for a damaged one.
    """
    refuse_without_packages()
    with listening(*address) as listener:
        model = BoundedProcess(
            open_model, (str(run_dir), which, limits), half_of_free_memory(), WITH_THE_MODEL
        )
        try:
            about = json.loads(model.start())
            host, port = listener.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            console.print(f"{run_dir} at {url} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
            run_server(about, model, limits, listener)
        finally:
            model.end()


def open_model(run_dir: str, which: str, limits: Limits) -> tuple[bytes, Answer]:
    """Return what `model_process` makes of a run; this module leaves torch to that process."""
    from bptrain.commands.serving.model_process import open_run

    return open_run(run_dir, which, limits)


def refuse_without_packages() -> None:
    """Raise UsageError where the packages of the extra are not installed."""
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "serve needs fastapi, uvicorn and python-multipart",
            "the packages of the extra are not installed",
            "pip install 'bptrain[serve]'",
        ) from error


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens, or raise UsageError where that cannot be.

    port  0 for any that is free

    It names its protocol, TCP: only then has asyncio each connection send at once what is written,
    where otherwise an answer's second part waits 40 ms for the receipt of its first.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        unnamed = socket.create_server((host, port), family=family)
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, unnamed.detach())
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot listen at {host}, port {port}", why, "another --port") from error


def run_server(
    about: dict[str, object], model: BoundedProcess, limits: Limits, listener: socket.socket
) -> None:
    """Answer requests until a signal stops it; those that are worked on are answered first."""
    import uvicorn

    from bptrain.commands.serving.app import make_app
    from bptrain.commands.serving.service import Service

    config = uvicorn.Config(
        make_app(Service(about, model, limits)),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS + limits.requests,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )
    uvicorn.Server(config).run(sockets=[listener])
