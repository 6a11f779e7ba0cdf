"""A signal inside a library's code stops the run, whatever the library makes of it."""

import signal
import sys
from contextlib import suppress

import pytest

from bptrain.train.signals import StopNow, StopRequest


def draw_while_stopped() -> None:
    """Do what a drawing library does: turn whatever passes it into an error of its own."""
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as error:
        raise ValueError("Invalid bounding box") from error


def test_an_error_that_a_library_made_of_a_stop_is_a_stop() -> None:
    with StopRequest() as stop, pytest.raises(StopNow) as stopped, stop.at_once():
        draw_while_stopped()
    assert stopped.value.signal_number == signal.SIGINT
    assert isinstance(stopped.value.__cause__, ValueError)


def test_an_error_without_a_signal_stays_what_it_is() -> None:
    with StopRequest() as stop, pytest.raises(ValueError, match="of its own"), stop.at_once():
        raise ValueError("of its own")


class Dropping:
    """An object whose end raises an error, which Python cannot pass on."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stop_that_cannot_be_raised_is_noted_without_a_word() -> None:
    told: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda dropped: told.append(dropped.exc_value)
    try:
        with StopRequest() as stop:
            stop.signal_number = signal.SIGINT
            Dropping(StopNow(signal.SIGINT))
            assert told == []
            error = ValueError("another")
            Dropping(error)
            assert told == [error]
            with pytest.raises(StopNow):
                list(stop.between([1]))
    finally:
        sys.unraisablehook = before


def test_a_signal_that_a_launcher_passes_on_again_is_one_signal() -> None:
    received = []
    with StopRequest() as stop, suppress(StopNow), stop.noted():
        stop.hears_once = True
        received += [signal.raise_signal(signal.SIGTERM) for _ in range(2)]
    assert len(received) == 2
    assert stop.signal_number == signal.SIGTERM
