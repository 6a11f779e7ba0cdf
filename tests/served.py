"""A service on a run, without a network."""

import io
from collections.abc import Callable
from json import loads
from pathlib import Path
from typing import Any

import image_sets
from fastapi.testclient import TestClient

from bptrain.commands.serving.app import make_app
from bptrain.commands.serving.limits import Limits
from bptrain.commands.serving.model_process import open_run
from bptrain.commands.serving.service import Service

LIMITS = Limits(body_bytes=2**20, samples=8, requests=4, seconds=20.0)
SECRET = "a text that no answer may hold"


class InThisProcess:
    """Answers questions as a BoundedProcess does, without its limits."""

    starts = 1

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer

    def ask(self, question: bytes, timeout_s: float) -> bytes:
        return self.answer(question)


def client_of(run: Path, limits: Limits = Limits()) -> TestClient:  # noqa: B008
    """Return what sends requests to a service on a run, the model in this process."""
    about, answer = open_run(str(run), "best", limits)
    model: Any = InThisProcess(answer)
    return TestClient(make_app(Service(loads(about), model, limits)))


def upload(client: TestClient, *paths: Path) -> Any:
    """Return the response to files."""
    return client.post(
        "/predict", files=[("file", (path.name, path.read_bytes())) for path in paths]
    )


def drawing() -> bytes:
    file = io.BytesIO()
    image_sets.picture(1, 0, (40, 30)).save(file, "PNG")
    return file.getvalue()


def check_refusal(response: Any, status: int) -> None:
    assert response.status_code == status, response.text
    content = response.json()
    assert content.keys() <= {"error", "why", "hint"}
    assert content["error"]
    assert len(response.text) < 2_000
    for leak in ("bptrain-serve-", "Traceback", 'File "', SECRET, "root:", str(Path.cwd())):
        assert leak not in response.text


def check_alive(client: TestClient) -> None:
    assert client.get("/health").json()["status"] == "ok"
    good = client.post("/predict", files={"file": ("a.png", drawing())})
    assert good.status_code == 200, good.text
    assert good.json()["predictions"][0]["input"] == "a.png"
