"""An audit hook in the process of a run: imports, started programs, changes outside its folder."""

import atexit
import json
import os
import sys
from typing import Any

FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
STARTING = (
    "ctypes.dlopen",
    "import",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pickle.find_class",
    "pty.spawn",
    "socket.__new__",
    "subprocess.Popen",
)
CHANGING = {  # how many leading arguments are paths; the last one is their folder's descriptor
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "shutil.rmtree": 1,
}
FOLLOW_LINKS = ("os.chmod", "os.chown", "os.truncate")  # the others act on the link itself


def watch(report: str) -> None:
    """Write to a file all that the run did except reading, and writing inside its folder."""
    noted: set[str] = set()
    end = os.open(report, os.O_WRONLY | os.O_CREAT)
    below = os.path.realpath("run")

    def is_outside(path: Any, follows: bool) -> bool:
        if path is None or isinstance(path, int):  # opened already, and noted then
            return False
        # the real path: a link may lead elsewhere
        folder, name = os.path.split(os.fsdecode(path))
        whole = f"{os.path.realpath(folder)}{os.sep}{name}"
        whole = os.path.realpath(whole) if follows else whole
        return whole not in (below, os.devnull) and not whole.startswith(below + os.sep)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTING:
            noted.add(f"{event} {arguments[0] if arguments else ''!s:.200}")
        elif event == "open" and int(arguments[2]) & FOR_WRITING:
            path, _, flags = arguments
            noted.update([f"open {path}"] * is_outside(path, not flags & os.O_NOFOLLOW))
        elif event in CHANGING and (len(arguments) == 1 or arguments[-1] in (-1, None)):
            paths = arguments[: CHANGING[event]]
            follows = event in FOLLOW_LINKS
            noted.update(f"{event} {path}" for path in paths if is_outside(path, follows))

    sys.addaudithook(hook)
    atexit.register(lambda: os.write(end, json.dumps(sorted(noted)).encode()))
