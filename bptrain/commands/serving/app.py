"""The routes of a service."""

import secrets
import sys
import time
import traceback
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from bptrain.commands.serving.limits import Refusal
from bptrain.commands.serving.metrics import CONTENT_TYPE
from bptrain.commands.serving.request import question_of
from bptrain.commands.serving.service import Reply, Service
from bptrain.monitor.html_page import rendered

RETRY_S = "1"
FILES = {  # by the kind of input: an example, and what is said of them
    "image": ("image.png", "images"),
    "recording": ("recording.wav", "WAV, FLAC, OGG or MP3"),
    "row": ("rows.csv", "tables, read as the training table was"),
    "sequence": ("sequences.npz", "sequences, named as those of the training file"),
    "text": ("text.txt", "texts in UTF-8"),
    "array": ("", ""),
}


def make_app(service: Service) -> FastAPI:
    """Return the ASGI application of a service."""
    # the pages of the interface that FastAPI offers load scripts from elsewhere
    app = FastAPI(title="bptrain", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    async def page() -> Response:
        nonce = secrets.token_urlsafe(16)
        example, hint = FILES[service.about["input"]]
        content = {
            "about": service.about,
            "limits": service.limits,
            "nonce": nonce,
            "file_example": example,
            "file_hint": hint,
        }
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(
            rendered("bptrain.commands.serving", "serve.html.jinja", content), 200, headers
        )

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", **service.about}

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics_text, media_type=CONTENT_TYPE)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        started = time.perf_counter()
        response, samples = await answer_to(request, service)
        service.metrics.add(response.status_code, time.perf_counter() - started, samples)
        return response

    @app.exception_handler(HTTPException)
    async def other_path(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    return app


async def answer_to(request: Request, service: Service) -> tuple[Response, int]:
    """Return the response to a request for predictions, and the number of samples."""
    try:
        with service.place():
            async with question_of(request, service.limits) as question:
                reply = await service.ask(question)
    except Refusal as refused:
        headers = {"Retry-After": RETRY_S} if refused.status in (429, 503) else None
        return JSONResponse(refused.content, refused.status, headers), 0
    except Exception:  # a bug, which ends this request alone
        traceback.print_exc(file=sys.stderr)
        return JSONResponse({"error": "a bug in bptrain"}, 500), 0
    return _response(reply), reply.samples


def _response(reply: Reply) -> Response:
    return Response(reply.content, reply.status, media_type="application/json")
