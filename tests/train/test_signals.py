"""A signal inside a library's code stops the run, whatever the library makes of it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import typer

from bptrain.commands.exit_codes import _interrupt, errors_to_exit_codes
from bptrain.errors import StorageError
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


@contextmanager
def wrapping() -> Iterator[None]:
    """Turn whatever passes into an error of its own, as pydantic does where it builds a model."""
    try:
        yield
    except BaseException as error:
        raise ValueError("building failed") from error


def test_a_stop_that_a_library_turned_into_an_error_is_a_stop() -> None:
    with pytest.raises(StopNow) as stopped, StopRequest(), wrapping():
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.signal_number == signal.SIGTERM


def test_an_error_while_the_run_is_saved_after_a_stop_is_told() -> None:
    def save() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise StorageError("checkpoint not written", "disk is full", "free space")

    with pytest.raises(StorageError, match="disk is full"), StopRequest() as stop, stop.noted():
        save()


def test_an_error_without_a_stop_is_that_error() -> None:
    with pytest.raises(ValueError, match="another"), StopRequest():
        raise ValueError("another")


def test_a_command_whose_interrupt_became_an_error_was_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        with pytest.raises(typer.Exit) as ended, errors_to_exit_codes(), wrapping():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == 128 + signal.SIGINT
    assert capsys.readouterr().err == "stopped; nothing was left to save\n"
    with pytest.raises(typer.Exit) as ended, errors_to_exit_codes(), wrapping():
        raise ValueError("of the next command")
    assert ended.value.exit_code == 1
