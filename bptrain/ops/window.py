"""The window that a pooling slides over its input: its options, checked, an entry for each axis."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from torch import Tensor

Lengths = int | Sequence[int]
OutputLengths = int | None | Sequence[int | None]
Length = TypeVar("Length", int, int | None)


class Window(NamedTuple):
    """Along each axis: output i reads positions i stride - padding + r dilation, 0 <= r < size."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    def under_one_row(self) -> "Window":
        """Return the two-dimensional window of height 1 that does what this one-dimensional does.

        torch's kernels pool planes; a line is a plane of one row.
        """
        return Window(
            (1, *self.size),
            (1, *self.stride),
            (0, *self.padding),
            (1, *self.dilation),
            self.ceil_mode,
        )


def checked_window(
    axes: int,
    size: Lengths,
    stride: Lengths | None,
    padding: Lengths,
    dilation: Lengths = 1,
    ceil_mode: bool = False,
) -> Window:
    """Return the window of `axes` axes, or raise ValueError naming the option that is wrong."""
    window = Window(
        _per_axis("kernel_size", size, axes),
        _per_axis("stride", size if stride is None else stride, axes),
        _per_axis("padding", padding, axes),
        _per_axis("dilation", dilation, axes),
        ceil_mode,
    )
    least = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
    for (name, bound), lengths in zip(least.items(), window[:4], strict=True):
        if min(lengths) < bound:
            raise ValueError(f"{name} is {list(lengths)}, expected at least {bound} on each axis")
    if any(pad > length // 2 for length, pad in zip(window.size, window.padding, strict=True)):
        raise ValueError(
            f"padding is {list(window.padding)}, expected at most half of kernel_size, "
            f"{list(window.size)}: else a window may read padding alone"
        )
    return window


def check_pooled(name: str, input: Tensor, window: Window) -> None:
    """Raise ValueError unless the window fits at least once and always reads input [(N,) C, ...].

    Symptom: a crash much later. Cause: where every position of a window lies in the padding,
    torch's maximum has no winner; its position is -1, and the backward pass adds to the memory
    before the gradient. Remedy: such a window is refused.
    """
    axes = len(window.size)
    check_planes(name, input, axes)
    lengths = input.shape[-axes:]
    for length, extent, stride, pad in zip(
        lengths, _extents(window), window.stride, window.padding, strict=True
    ):
        slack = length + 2 * pad - extent + (stride - 1 if window.ceil_mode else 0)
        if slack < 0:
            raise ValueError(
                f"{name} of input {list(input.shape)} with a window of extent "
                f"{list(_extents(window))} and padding {list(window.padding)} has no output: "
                "expected a window no larger than the padded input"
            )
    for axis, length in enumerate(lengths):
        start = _start_of_window_without_input(window, axis, length)
        if start is not None:
            raise ValueError(
                f"{name} of input {list(input.shape)} with kernel_size {list(window.size)}, "
                f"padding {list(window.padding)} and dilation {list(window.dilation)} has a window "
                f"from position {start} on that reads padding alone: expected less dilation"
            )


def _start_of_window_without_input(window: Window, axis: int, length: int) -> int | None:
    """Return where a window begins that reads no position 0 <= h < length; None if none does.

    A window that begins inside the input reads its first position, and none begins behind it; one
    without gaps that begins in the padding ends beyond it, as the padding is at most half of it.
    """
    size, stride, padding, dilation = (option[axis] for option in window[:4])
    if padding == 0 or dilation == 1:
        return None
    slack = length + 2 * padding - (size - 1) * dilation - 1
    last = -(-slack // stride) if window.ceil_mode else slack // stride
    for start in range(-padding, min(0, last * stride - padding + 1), stride):
        first_inside = start % dilation  # the first position that is not negative
        if first_inside >= length or first_inside > start + (size - 1) * dilation:
            return start
    return None


def check_planes(name: str, input: Tensor, axes: int, filled: int | None = None) -> None:
    """Raise ValueError unless input is [N, C, ...] or [C, ...] with `axes` further axes.

    filled  how many axes, counted from the last, must not be 0; by default all but N
    """
    filled = axes + 1 if filled is None else filled
    further = ", ".join("DHW"[-axes:])
    expected = f"expected [N, C, {further}] or [C, {further}]"
    if input.dim() not in (axes + 1, axes + 2):
        raise ValueError(f"{name} has an input of shape {list(input.shape)}, {expected}")
    if 0 in input.shape[input.dim() - filled :]:
        others = "N" if filled > axes else "N or C"
        raise ValueError(
            f"{name} has an input of shape {list(input.shape)}, {expected}, where only {others} "
            "may be 0"
        )


def checked_output_size(output_size: OutputLengths, lengths: Sequence[int]) -> tuple[int, ...]:
    """Return the number of outputs along each axis, where None stands for the input's length."""
    asked = _per_axis("output_size", output_size, len(lengths))
    full = tuple(
        length if each is None else each for each, length in zip(asked, lengths, strict=True)
    )
    if min(full) < 1:
        raise ValueError(f"output_size is {list(full)}, expected at least 1 along each axis")
    return full


def windows_overlap(lengths: Sequence[int], outputs: Sequence[int]) -> bool:
    """Tell whether `outputs` windows share positions of an input of these lengths."""
    return any(length % count for length, count in zip(lengths, outputs, strict=True))


def _per_axis(name: str, given: Length | Sequence[Length], axes: int) -> tuple[Length, ...]:
    """Return one length for each axis; a single one serves every axis."""
    if not isinstance(given, Sequence):
        return (given,) * axes
    if len(given) == 1:
        return (given[0],) * axes
    if len(given) != axes:
        raise ValueError(f"{name} is {list(given)}, expected one length or {axes}")
    return tuple(given)


def _extents(window: Window) -> tuple[int, ...]:
    return tuple(
        (size - 1) * dilation + 1
        for size, dilation in zip(window.size, window.dilation, strict=True)
    )
