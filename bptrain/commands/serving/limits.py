"""What one request may take, and what is answered to one that may not."""

from dataclasses import dataclass
from http import HTTPStatus

from bptrain.errors import LISTING_WIDTH, BptrainError, shorten

MOST_VALUES = 1_000_000  # of a JSON body: each takes up to 100 bytes in memory
MOST_PIXELS = 2**26  # of all images of a request: 8192 x 8192
MOST_SYMBOLS = 10_000  # that a language model writes for each prompt


@dataclass(frozen=True)
class Limits:
    """Limits of a service.

    body_bytes  of a request
    samples     of a request
    requests    that may be worked on or wait at a time; others are refused at once
    seconds     for the sender to send a request, and again for the model to answer it
    """

    body_bytes: int = 32 * 2**20
    samples: int = 1_000
    requests: int = 16
    seconds: float = 30.0


class Refusal(Exception):
    """A request that is refused: the status and the error to answer."""

    def __init__(self, status: HTTPStatus, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.status = status
        self.content = error_content(BptrainError(what, why, hint))


def error_content(error: BptrainError) -> dict[str, str]:
    """Return an error as a JSON object: what is wrong, and where there are any, why and a hint."""
    words = {"error": error.what, "why": error.why, "hint": error.hint}
    return {key: shorten(text, LISTING_WIDTH) for key, text in words.items() if text}
