#!/usr/bin/env python3
"""Loads a service of `bptrain serve` and prints a table: requests per second, and their latency.

    bptrain serve runs/digits-mlp --max-requests 64 &
    python scripts/serve_load.py http://127.0.0.1:8000 three.png --process $!

Senders each send one request after the other over a connection of their own. They run in this
process: on a machine with few cores they take time from the service that they measure. The CPU
time of the service does not depend on what else the machine does.
"""

import argparse
import time
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import psutil

BOUNDARY = "bptrain-serve-load"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form_of(path: Path, files: int) -> bytes:
    """Return a form with a file, `files` times."""
    part = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    ).encode()
    return (part + path.read_bytes() + b"\r\n") * files + f"--{BOUNDARY}--\r\n".encode()


def send(address: str, body: bytes, requests: int, latencies: list[float]) -> None:
    """Send requests one after the other; note how long each took, in seconds."""
    connection = HTTPConnection(address, timeout=60)
    for _ in range(requests):
        started = time.perf_counter()
        connection.request("POST", "/predict", body, HEADERS)
        response = connection.getresponse()
        content = response.read()
        latencies.append(time.perf_counter() - started)
        if response.status != 200:
            raise SystemExit(f"status {response.status}: {content.decode()}")


def load(address: str, body: bytes, senders: int, requests: int) -> tuple[float, list[float]]:
    """Return the seconds that all requests together took, and those of each, sorted."""
    latencies: list[float] = []
    threads = [
        Thread(target=send, args=(address, body, requests // senders, latencies))
        for _ in range(senders)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, sorted(latencies)


def cpu_s(process: psutil.Process | None) -> float:
    """Return the CPU time that a service has taken, with that of its processes."""
    if process is None:
        return float("nan")
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--process", type=int, help="its id, for the CPU time of the service")
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--senders", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--files", type=int, nargs="+", default=[1, 32], help="in a request")
    given = parser.parse_args()
    address = urlsplit(given.url).netloc
    process = None if given.process is None else psutil.Process(given.process)
    load(address, form_of(given.file, 1), 1, 20)  # warm-up
    print("| senders | images a request | requests/s | p50 ms | p95 ms | p99 ms | CPU ms/request |")
    print("|---|---|---|---|---|---|---|")
    for files in given.files:
        body = form_of(given.file, files)
        for senders in given.senders:
            before = cpu_s(process)
            total_s, latencies = load(address, body, senders, given.requests)
            many = len(latencies)
            cpu_ms = 1000 * (cpu_s(process) - before) / many
            parts = [1000 * latencies[int(part * many)] for part in (0.5, 0.95, 0.99)]
            numbers = " | ".join(f"{each:.1f}" for each in (*parts, cpu_ms))
            print(f"| {senders} | {files} | {many / total_s:.0f} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
