"""Hostile requests to the HTTP service: each is refused with a short error, and it lives on."""

import asyncio
import gzip
import json
import os
import pickle
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from served import LIMITS, check_alive, check_refusal, client_of, drawing

from bptrain.commands.serve import WITH_THE_MODEL, open_model
from bptrain.commands.serving.app import make_app
from bptrain.commands.serving.limits import Limits, Refusal
from bptrain.commands.serving.request import question_of
from bptrain.commands.serving.service import Service
from bptrain.experiment.bounded_process import BoundedProcess

MEMORY = 2**27


@contextmanager
def service_on(run: Path) -> Iterator[TestClient]:
    """Yield what sends requests to a service on a run, in two processes."""
    model = BoundedProcess(open_model, (str(run), "best", LIMITS), MEMORY, WITH_THE_MODEL)
    try:
        service = Service(json.loads(model.start()), model, LIMITS)
        with TestClient(make_app(service)) as client:
            yield client
    finally:
        model.end()


@pytest.fixture(scope="module")
def images(served_runs: Path) -> Iterator[TestClient]:
    """Return what sends requests to a service on the run of images."""
    with service_on(served_runs / "images") as client:
        yield client


def png(width: int, height: int, depth: int = 8, rows: int = 0) -> bytes:
    """Return a grayscale PNG that declares a size and holds that many black rows."""
    pixels = zlib.compress(bytes(1 + (width * depth + 7) // 8) * rows, 9)
    header = pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    body = b"".join(
        pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch evil",))


FORM = {"content-type": "multipart/form-data; boundary=x"}
AS_JSON = {"content-type": "application/json"}
MANY = [("file", (f"{n}.png", b"x")) for n in range(9)]

# the status, and the arguments of the request
HOSTILE_FILES: dict[str, tuple[int, bytes]] = {
    "an empty file": (422, b""),
    "no image": (422, b"words"),
    "a gzip bomb": (422, gzip.compress(bytes(2**24))),
    "a pickle": (422, pickle.dumps(Evil())),
    "a PNG that declares 60,000 x 60,000 pixels": (422, png(60_000, 60_000)),
    "a PNG that ends in its first row": (422, png(28, 28)),
    "8,300 x 8,300 pixels in 9 kB": (422, png(8_300, 8_300, depth=1, rows=8_300)),
    "PostScript": (422, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "SVG that includes a file": (
        422,
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    ),
}
HOSTILE_REQUESTS: dict[str, tuple[int, dict[str, Any]]] = {
    "no content": (415, {}),
    "XML": (415, {"content": b"<a/>", "headers": {"content-type": "text/xml"}}),
    "a compressed body": (
        415,
        {"content": gzip.compress(b"{}"), "headers": {**AS_JSON, "content-encoding": "gzip"}},
    ),
    "more bytes than the limit": (413, {"content": b" " * (2**20 + 1), "headers": AS_JSON}),
    "a length that is none": (
        413,
        {"content": b"{}", "headers": {**AS_JSON, "content-length": "9" * 99}},
    ),
    "more bytes than declared": (
        413,
        {"content": (b" " * 2**19 for _ in range(9)), "headers": AS_JSON},
    ),
    "bytes that are no UTF-8": (400, {"content": b'{"inputs": ["\xff"]}', "headers": AS_JSON}),
    "UTF-16": (400, {"content": '{"inputs": []}'.encode("utf-16"), "headers": AS_JSON}),
    "half of JSON": (400, {"content": b'{"inputs": [', "headers": AS_JSON}),
    "100,000 nested lists": (400, {"content": b"[" * 100_000, "headers": AS_JSON}),
    "100,000 nested objects": (400, {"content": b'{"a":' * 100_000, "headers": AS_JSON}),
    "a million empty lists": (
        413,
        {"content": b'{"inputs": [' + b"[]," * 340_000 + b"1]}", "headers": AS_JSON},
    ),
    "an integer of 100,000 digits": (
        400,
        {"content": b'{"inputs": [' + b"9" * 100_000 + b"]}", "headers": AS_JSON},
    ),
    "NaN": (400, {"content": b'{"inputs": [NaN]}', "headers": AS_JSON}),
    "Infinity": (400, {"content": b'{"inputs": [-Infinity]}', "headers": AS_JSON}),
    "1e999": (400, {"content": b'{"inputs": [1e999]}', "headers": AS_JSON}),
    "half of a character": (400, {"content": b'{"inputs": ["\\ud800"]}', "headers": AS_JSON}),
    "a list": (400, {"json": [1]}),
    "no inputs": (400, {"json": {"inputs": []}}),
    "inputs that are no list": (400, {"json": {"inputs": "/etc/passwd"}}),
    "a path": (422, {"json": {"inputs": ["/etc/passwd"]}}),
    "another key": (400, {"json": {"inputs": ["a"], "path": "/etc/passwd"}}),
    "too many inputs": (413, {"json": {"inputs": ["a"] * 9}}),
    "too long a text": (400, {"json": {"inputs": ["a"], "length": 10**9}}),
    "a seed of another type": (400, {"json": {"inputs": ["a"], "seed": True}}),
    "a temperature below 0": (400, {"json": {"inputs": ["a"], "temperature": -1}}),
    "an option of language models": (422, {"json": {"inputs": ["a"], "seed": 1}}),
    "a form without its boundary": (
        400,
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ),
    "a form that is none": (400, {"content": b"words", "headers": FORM}),
    "a form without files": (400, {"content": b"--x--\r\n", "headers": FORM}),
    "a field that is no file": (400, {"data": {"file": "/etc/passwd"}, "files": {"b": b"x"}}),
    "a part without a name": (400, {"content": b"--x\r\n\r\nb\r\n--x--\r\n", "headers": FORM}),
    "a form in a charset that is no text": (
        400,
        {
            "content": b"--x--\r\n",
            "headers": {"content-type": "multipart/form-data; boundary=x; charset=hex"},
        },
    ),
    "too many files": (413, {"files": MANY}),
    "two images of 48 million pixels each": (
        413,
        {"files": [("file", (f"{n}.png", png(6_000, 8_000, 1, 8_000))) for n in range(2)]},
    ),
}


@pytest.mark.parametrize("name", HOSTILE_REQUESTS)
def test_a_hostile_request_is_refused(images: TestClient, name: str) -> None:
    status, arguments = HOSTILE_REQUESTS[name]
    check_refusal(images.post("/predict", **arguments), status)
    check_alive(images)


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_is_refused(images: TestClient, name: str) -> None:
    status, content = HOSTILE_FILES[name]
    response = images.post("/predict", files={"file": ("a.png", content)})
    check_refusal(response, status)
    if status == 422:
        assert response.json()["error"].startswith("a.png: ")
    check_alive(images)
    assert not Path("evil").exists()


@pytest.mark.parametrize("named", ["../../../../etc/passwd", "a.eps", "\x1b[2J", "x" * 1_000])
def test_a_hostile_name_of_a_file_is_refused(images: TestClient, named: str) -> None:
    check_refusal(images.post("/predict", files={"file": (named, b"words")}), 422)
    check_alive(images)


def test_a_text_that_unpacks_to_more_than_the_memory_is_refused(served_runs: Path) -> None:
    bomb = gzip.compress(bytes(MEMORY), 1)
    with service_on(served_runs / "reads") as client:
        response = client.post("/predict", files={"file": ("a.txt.gz", bomb)})
        assert response.status_code in (413, 422)  # 422 where the machine has less memory free
        check_refusal(response, response.status_code)
        good = client.post("/predict", files={"file": ("a.txt", b"a good film")})
        assert good.json()["predictions"][0]["input"] == "a.txt"


def test_a_files_name_leads_nowhere(images: TestClient) -> None:
    for given, shown in {
        "../../../../etc/passwd": "passwd",
        "C:\\windows\\a.png": "a.png",
        "/etc/passwd": "passwd",
        "..": "..",
    }.items():
        found = images.post("/predict", files={"file": (given, drawing())}).json()["predictions"]
        assert found[0]["input"] == shown
    check_alive(images)


def test_texts_are_no_names_of_files(served_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(served_runs)
    words = [
        str(served_runs / "secret.txt"),
        "secret.txt",
        "opinions.csv",
        "~/.bashrc",
        "/dev/zero",
    ]
    for name in ("reads", "writes"):
        client = client_of(served_runs / name)
        options = {"length": 2} if name == "writes" else {}
        found = client.post("/predict", json={"inputs": words, **options}).json()["predictions"]
        assert [each["input"] for each in found] == words
        if name == "reads":  # each word is read as itself: none as what its file holds
            alone = client.post("/predict", json={"inputs": ["opinions . csv"]}).json()
            assert found[2]["probability"] == pytest.approx(
                alone["predictions"][0]["probability"], rel=1e-5
            )
        check_refusal(client.post("/predict", json={"inputs": [""]}), 422)
        check_refusal(client.post("/predict", json={"inputs": [{"a": [1]}]}), 422)


@pytest.mark.parametrize(
    "row",
    [
        *(1, "x,c", [1, "a"], {}, {"x": 1}, {"x": 1, "c": [1]}, {"x": {"a": 1}, "c": "a"}),
        *({"x": "one", "c": "a"}, {"x": 1e300, "c": "a"}, {"x": 10**400, "c": "a"}),
    ],
)
def test_a_row_that_is_unfit_is_refused(served_runs: Path, row: object) -> None:
    client = client_of(served_runs / "rows")
    check_refusal(client.post("/predict", json={"inputs": [row]}), 422)
    good = client.post("/predict", json={"inputs": [{"x": 3, "c": "a"}]})
    assert good.json()["predictions"][0]["class"] in ("0", "1", "2")


def test_a_request_that_is_sent_too_slowly_is_refused() -> None:
    async def receive() -> Any:
        await asyncio.sleep(600)

    async def read() -> None:
        headers = [(b"content-type", b"application/json")]
        request = Request({"type": "http", "headers": headers}, receive)
        async with question_of(request, Limits(seconds=0.01)):
            pass

    with pytest.raises(Refusal) as refused:
        asyncio.run(read())
    assert refused.value.status == 408
