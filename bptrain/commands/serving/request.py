"""A request's inputs: JSON, or files in a folder of their own, read within the limits.

Nothing that a request names is opened: files get names of the service's own, and texts are texts.
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from bptrain.commands.serving.limits import MOST_SYMBOLS, MOST_VALUES, Limits, Refusal
from bptrain.errors import shorten

JSON, FORM = "application/json", "multipart/form-data"
OPTIONS = ("length", "temperature", "seed")  # of a language model
KEYS = ("inputs", *OPTIONS)
SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")  # such as .txt.gz
NAME_WIDTH = 100
HOTTEST = 100  # temperature: every symbol is as likely
TOO_LARGE, BAD = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.BAD_REQUEST


@asynccontextmanager
async def question_of(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """Yield the question that a request asks; its files are there inside the block.

    Raises Refusal for one that is malformed, too large or sent too slowly.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, FORM) or "content-encoding" in request.headers:
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"neither {JSON} nor {FORM}, or compressed",
            hint="curl -F file=@FILE, or curl --json '{\"inputs\": [...]}'",
        )
    try:
        async with asyncio.timeout(limits.seconds):
            if kind == JSON:
                content = bytearray()
                async for chunk in _bounded(request, limits):
                    content += chunk
                question = {"values": None, **_parsed(content, limits)}
                items: list[UploadFile] = []
            else:
                items = await _uploads(request, limits)
    except TimeoutError as error:
        raise Refusal(
            HTTPStatus.REQUEST_TIMEOUT, f"not sent within {limits.seconds:g} s"
        ) from error
    except ClientDisconnect as error:
        raise Refusal(BAD, "the sender went away") from error
    if kind == JSON:
        yield json.dumps(question).encode()
        return
    with TemporaryDirectory(prefix="bptrain-serve-") as folder:
        names = await asyncio.to_thread(_stored, items, Path(folder))
        yield json.dumps({"files": names}).encode()


async def _bounded(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield a request's body, or raise Refusal as soon as it is too large."""
    size = 0
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit():
        size = int(declared[:20])
    if size <= limits.body_bytes:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limits.body_bytes:
                break
            yield chunk
    if size > limits.body_bytes:
        raise Refusal(TOO_LARGE, f"the request has more than {limits.body_bytes:,} bytes")


def _parsed(content: bytearray, limits: Limits) -> dict[str, Any]:
    """Return the values and options of a JSON body, or raise Refusal."""
    if sum(map(content.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise Refusal(TOO_LARGE, f"more than {MOST_VALUES:,} values")
    try:
        body = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise Refusal(BAD, "JSON that is nested too deep") from error
    except ValueError as error:  # no UTF-8, no JSON, an integer of thousands of digits
        raise Refusal(BAD, "no JSON", shorten(str(error))) from error
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise Refusal(BAD, "no list of inputs", hint='{"inputs": [...]}')
    if unknown := [key for key in body if key not in KEYS]:
        raise Refusal(BAD, f"unknown key {shorten(repr(unknown[0]), NAME_WIDTH)}", ", ".join(KEYS))
    if not 0 < len(body["inputs"]) <= limits.samples:
        raise _wrong_count(len(body["inputs"]), limits)
    _refuse_odd_values(body)
    options = {key: body[key] for key in OPTIONS if key in body}
    _refuse_options(options)
    return {"values": body["inputs"], "options": options}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _wrong_count(found: int, limits: Limits) -> Refusal:
    if not found:
        return Refusal(BAD, "no inputs")
    return Refusal(TOO_LARGE, f"{found:,} inputs, at most {limits.samples:,}")


def _refuse_odd_values(body: Any) -> None:
    """Raise Refusal for a number that is none in float64, and for half of a character."""
    left = [body]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.keys()
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, float) and not math.isfinite(value):
            raise Refusal(BAD, "a number too large for float64")
        elif isinstance(value, str) and not _is_unicode(value):
            raise Refusal(BAD, "a text with half of a character (a lone surrogate)")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_options(options: dict[str, Any]) -> None:
    """Raise Refusal for options that a language model cannot take."""
    for key, most in (("length", MOST_SYMBOLS), ("seed", 2**63 - 1)):
        if key in options and not (type(options[key]) is int and 0 <= options[key] <= most):
            raise Refusal(BAD, f"{key}: expected an integer from 0 to {most:,}")
    temperature = options.get("temperature", 0)
    if type(temperature) not in (int, float) or not 0 <= temperature <= HOTTEST:
        raise Refusal(BAD, f"temperature: expected a number from 0 to {HOTTEST}")


async def _uploads(request: Request, limits: Limits) -> list[UploadFile]:
    """Return the files of a form, or raise Refusal."""
    parser = MultiPartParser(
        request.headers, _bounded(request, limits), max_files=limits.samples, max_fields=0
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        many = "Too many files" in error.message
        raise Refusal(TOO_LARGE if many else BAD, f"no form of files: {error.message}") from error
    files = [file for _, file in form.multi_items() if isinstance(file, UploadFile)]
    if not files:
        raise _wrong_count(0, limits)
    return files


def _stored(files: list[UploadFile], folder: Path) -> dict[str, str]:
    """Write the files into a folder; return the sender's name of each, by its path."""
    names = {}
    for number, upload in enumerate(files, start=1):
        given = re.split(r"[\\/]", upload.filename or "")[-1] or f"file {number}"
        suffix = SUFFIX.search(given)
        path = folder / f"{number}{suffix[0] if suffix else ''}"
        with path.open("wb") as file:
            while block := upload.file.read(2**20):
                file.write(block)
        upload.file.close()
        names[str(path)] = shorten(given, NAME_WIDTH)
    return names
