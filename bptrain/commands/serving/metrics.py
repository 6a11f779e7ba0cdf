"""What a service has done, in the text format that Prometheus reads."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How many values were at most as large as each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        """Yield the lines of a histogram of that name."""
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.9g}"
        yield f"{name}_count {total}"


class Metrics:
    """Counts of the requests for predictions."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds, self.samples = Histogram(SECONDS), Histogram(SAMPLES)

    def add(self, status: int, seconds: float, samples: int) -> None:
        """Count a request that was answered; `samples` is 0 where it was refused."""
        self.statuses[status] += 1
        self.seconds.add(seconds)
        if samples:
            self.samples.add(samples)

    def text(self, running: int, restarts: int) -> str:
        """Return all metrics.

        running   requests that are worked on or wait
        restarts  of the process with the model
        """
        return "\n".join([*self._lines(running, restarts), ""])

    def _lines(self, running: int, restarts: int) -> Iterator[str]:
        yield from _heading("bptrain_requests_total", "counter", "answered, by HTTP status")
        for status, count in sorted(self.statuses.items()):
            yield f'bptrain_requests_total{{status="{status}"}} {count}'
        name = "bptrain_request_duration_seconds"
        yield from _heading(name, "histogram", "from the headers to the answer")
        yield from self.seconds.lines(name)
        name = "bptrain_request_samples"
        yield from _heading(name, "histogram", "samples of a request that was predicted")
        yield from self.samples.lines(name)
        yield from _heading("bptrain_requests_running", "gauge", "worked on or waiting")
        yield f"bptrain_requests_running {running}"
        name = "bptrain_model_restarts_total"
        yield from _heading(name, "counter", "of the process with the model")
        yield f"{name} {restarts}"


def _heading(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
