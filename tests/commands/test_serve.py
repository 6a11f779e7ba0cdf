"""The HTTP service: what it answers and counts, and how it starts and ends."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from html_pages import Elements
from served import LIMITS, InThisProcess, check_refusal, client_of, drawing

from bptrain.commands.serve import listening
from bptrain.commands.serving.app import make_app
from bptrain.commands.serving.limits import Limits
from bptrain.commands.serving.metrics import Metrics
from bptrain.commands.serving.service import Service
from bptrain.errors import BptrainError, CheckpointError, MemoryExhaustedError
from bptrain.experiment.bounded_process import OverdueError, ProcessEndedError


def test_a_table_of_too_many_rows_is_refused(served_runs: Path) -> None:
    client = client_of(served_runs / "rows", LIMITS)
    table = b"x,c\n" + b"1,a\n" * 9
    check_refusal(client.post("/predict", files={"file": ("t.csv", table)}), 413)


def test_a_language_model_takes_options(served_runs: Path) -> None:
    client = client_of(served_runs / "writes")
    asked = {"inputs": ["round"], "length": 7, "temperature": 0.5, "seed": 3}
    first, second = (client.post("/predict", json=asked).json() for _ in range(2))
    assert first == second
    assert len(first["predictions"][0]["text"]) == 7


def test_a_service_says_what_it_serves_and_counts_requests(served_runs: Path) -> None:
    client = client_of(served_runs / "images", LIMITS)
    assert client.get("/health").json() == {
        "status": "ok",
        "run": "images",
        "checkpoint": "step-000002",
        "task": "classification",
        "input": "image",
        "example": None,
    }
    client.post("/predict", files=[("a", ("a.png", drawing())), ("b", ("a.png", drawing()))])
    client.post("/predict", json={"inputs": [1]})
    lines = client.get("/metrics").text.splitlines()
    for line in (
        'bptrain_requests_total{status="200"} 1',
        'bptrain_requests_total{status="422"} 1',
        'bptrain_request_samples_bucket{le="1"} 0',
        'bptrain_request_samples_bucket{le="2"} 1',
        "bptrain_request_samples_sum 2",
        "bptrain_request_duration_seconds_count 2",
        "bptrain_requests_running 0",
        "bptrain_model_restarts_total 0",
    ):
        assert line in lines
    for path, status in (("/nowhere", 404), ("/../../etc/passwd", 404), ("/predict", 405)):
        check_refusal(client.get(path), status)


def test_a_value_at_a_bound_counts_below_it() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.0011, 99.0):
        metrics.add(200, seconds, 1)
    lines = metrics.text(0, 0).splitlines()
    found = [line.split()[1] for line in lines if "seconds_bucket" in line]
    assert found[:2] == ["1", "2"]
    assert found[-2:] == ["2", "3"]  # 30 s, and any


def test_requests_beyond_the_limit_are_refused_at_once() -> None:
    began, goes_on = threading.Event(), threading.Event()

    def answer(question: bytes) -> bytes:
        began.set()
        assert goes_on.wait(60)
        return b"200 1\n{}"

    model: Any = InThisProcess(answer)
    service = Service({"input": "text"}, model, Limits(requests=1))
    with TestClient(make_app(service)) as client:
        first = threading.Thread(
            target=client.post, args=("/predict",), kwargs={"json": {"inputs": ["a"]}}
        )
        first.start()
        assert began.wait(60)
        refused = client.post("/predict", json={"inputs": ["a"]})
        check_refusal(refused, 429)
        assert refused.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
        goes_on.set()
        first.join(60)
        assert client.post("/predict", json={"inputs": ["a"]}).status_code == 200


def test_a_bug_is_answered_and_told_on_stderr_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(question: bytes) -> bytes:
        raise KeyError("details")

    model: Any = InThisProcess(fail)
    client = TestClient(make_app(Service({"input": "text"}, model, Limits())))
    response = client.post("/predict", json={"inputs": ["a"]})
    assert (response.status_code, response.json()) == (500, {"error": "a bug in bptrain"})
    assert "KeyError: 'details'" in capsys.readouterr().err


def test_the_page_loads_nothing_and_escapes_names(served_runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(served_runs / "rows", tmp_path / "<b>&'\"")
    response = client_of(run).get("/")
    page = Elements()
    page.feed(response.text)
    assert page.wrong == page.open == []
    assert "<b>" not in response.text
    assert "<b>&'\"" in " ".join(page.text)
    links = {value for _, name, value in page.attributes if name in ("src", "href", "action")}
    assert links == {"data:,", "health", "metrics"}
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert response.text.count(policy.split("nonce-")[1].split("'")[0]) == 2
    assert '"x": null' in response.text.replace("&#34;", '"')


def test_what_cannot_be_served_is_refused_at_the_start(
    bptrain: Callable, served_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = bptrain("serve", served_runs / "images", "--port", port)
        assert (refused.exit_code, "another --port" in refused.stderr) == (2, True)
    missing = bptrain("serve", "nowhere", "--port", 0)
    assert (missing.exit_code, "not a run directory" in missing.stderr) == (2, True)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    without = bptrain("serve", served_runs / "images")
    assert (without.exit_code, "pip install 'bptrain[serve]'" in without.stderr) == (2, True)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_connections_send_an_answer_without_waiting_for_receipts() -> None:
    with listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # what asyncio asks before TCP_NODELAY


def test_a_signal_ends_a_service_with_its_code(served_runs: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bptrain", "serve", str(served_runs / "rows"), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    url = process.stdout.readline().split(" at ")[1].split()[0]
    with urllib.request.urlopen(f"{url}/health", timeout=60) as response:
        assert json.load(response)["run"] == "rows"
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert stderr == "stopped; nothing was left to save\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverdueError("not done"), 413),
        (MemoryExhaustedError("out of memory"), 413),
        (ProcessEndedError("it ended"), 422),
        (CheckpointError("runs/secret: damaged"), 503),
        (BptrainError("a bug in bptrain"), 500),
    ],
)
def test_a_question_without_an_answer_has_its_status(error: BptrainError, status: int) -> None:
    def fail(question: bytes) -> bytes:
        raise error

    model: Any = InThisProcess(fail)
    client = TestClient(make_app(Service({"input": "text"}, model, Limits())))
    response = client.post("/predict", json={"inputs": ["a"]})
    check_refusal(response, status)
    assert "secret" not in response.text
