"""A signal inside a library's code stops the run, whatever the library makes of it."""

import signal

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
