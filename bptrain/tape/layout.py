"""Which images of a program lie in memory with their channels last, as kernels read them faster.

A convolution that gains by it reads its image and its weights in that layout, and what follows it
stays in it, up to the first entry that is not in the table below. There, and where the caller is
given a value, stands a copy in the layout that was recorded: other entries, the gradients by
parameters and the model's outputs are as they were. A gradient takes the same way back.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from bptrain.ops.adaptive_avg_pool import adaptive_avg_pool_function
from bptrain.ops.add import add_function
from bptrain.ops.avg_pool import avg_pool_function
from bptrain.ops.batch_norm import batch_norm_function
from bptrain.ops.batch_norm_by_running import batch_norm_by_running_function
from bptrain.ops.batch_norm_relu import batch_norm_relu_function
from bptrain.ops.conv import conv_function
from bptrain.ops.conv_relu import conv_relu_function
from bptrain.ops.elu import elu_function
from bptrain.ops.gelu import gelu_function
from bptrain.ops.hardswish import hardswish_function
from bptrain.ops.leaky_relu import leaky_relu_function
from bptrain.ops.max_pool import max_pool_function
from bptrain.ops.relu import relu_function
from bptrain.ops.relu_max_pool import relu_max_pool_function
from bptrain.ops.sigmoid import sigmoid_function
from bptrain.ops.silu import silu_function
from bptrain.ops.tanh import tanh_function
from bptrain.tape.calls import Call, Entry, Function, Like, Rule, Value
from bptrain.tape.program import Program

CONVOLUTIONS = (conv_function, conv_relu_function)
FOLLOWING = (  # operations that write the layout that they read
    adaptive_avg_pool_function,
    add_function,
    avg_pool_function,
    batch_norm_by_running_function,
    batch_norm_function,
    batch_norm_relu_function,
    elu_function,
    gelu_function,
    hardswish_function,
    leaky_relu_function,
    max_pool_function,
    relu_function,
    relu_max_pool_function,
    sigmoid_function,
    silu_function,
    tanh_function,
)
TO = torch.ops.aten.to.dtype
HALF = (torch.bfloat16, torch.float16)
# On a CPU oneDNN brings contiguous images into a layout of its own and back in each pass, and reads
# those with the channels last as they are. Weights it reorders either way, and a product of large
# ones is slower with the channels last. Measured on 27 convolutions (AVX-512, one thread, forward
# and backward): 0.25 to 0.97 of the time where the images have 7 times as many numbers as the
# weights, or more; 1.06 to 1.98 where they have less than 4 times as many.
IMAGES_BY_WEIGHTS = 6
SMALLEST = 2**19  # numbers of images: fewer are in a processor's cache, and soon reordered


def gains(call: Call) -> bool:
    """Return whether a convolution is faster with the channels last.

    On CUDA in 16 bits, where cuDNN's kernels for tensor cores read images so: unmeasured.
    """
    image, weight, output = call.read[0], call.read[1], call.likes[0]
    assert image is not None
    assert weight is not None
    assert output is not None
    if call.arguments[3].groups != 1:
        return False
    if image.device.type == "cuda":
        return call.autocast or image.dtype in HALF
    images = image.shape.numel() + output.shape.numel()
    return (
        image.device.type == "cpu"
        and image.dtype != torch.float64  # not oneDNN's
        and torch.backends.mkldnn.is_available()
        and images >= max(SMALLEST, IMAGES_BY_WEIGHTS * weight.shape.numel())
    )


def is_laid_out(program: Program, recorded: Program) -> bool:
    """Return whether a program has values with the channels last that were not recorded so."""
    return program.values > recorded.values


def channels_last(program: Program) -> Program:
    """Return the program with the channels last where that is faster; itself if nowhere."""
    layout = Layout(program)
    layout.rewrite()
    if not layout.relaid:
        return program
    return replace(program, entries=layout.entries, boundary=layout.boundary, values=layout.values)


@dataclass
class Layout:
    """The pass over a program: its entries are rewritten one by one.

    A value of the program keeps its number for the layout that was recorded; with the channels last
    it has a second one.

    relaid   (recorded entry, the same in channels_last) of each entry that was changed
    last     the second number of each value that is there with the channels last
    pending  what is known of those values that are not there in the layout that was recorded
    """

    program: Program
    entries: list[Entry] = field(default_factory=list)
    relaid: list[tuple[Call, Call]] = field(default_factory=list)
    boundary: int = 0
    values: int = 0
    last: dict[int, int] = field(default_factory=dict)
    pending: dict[int, tuple[Like, bool]] = field(default_factory=dict)

    def rewrite(self) -> None:
        """Rewrite every entry."""
        self.values = self.program.values
        for place, entry in enumerate(self.program.entries):
            if place == self.program.boundary:
                self._end_model()
            if isinstance(entry, Call) and self._is_for(entry):
                self._change(entry)
            else:
                for number in entry.reads:
                    self._as_recorded(number, entry.layer)
                self._forget_copies(entry)
                self.entries.append(entry)
        if self.program.boundary == len(self.program.entries):  # the loss is an output of the model
            self._end_model()

    def _end_model(self) -> None:
        """Write what the caller is given; the loss's entries come next."""
        layer = self.entries[-1].layer if self.entries else ""  # fused with the loss: none is left
        for number in sorted(self.program.kept):
            self._as_recorded(number, layer)
        self.boundary = len(self.entries)

    def _is_for(self, call: Call) -> bool:
        """Return whether a call is to read images with the channels last."""
        if call.passes != call.operation.fused:
            return False
        if call.operation in CONVOLUTIONS:
            return _is_image(call.read[0]) and gains(call)
        return call.operation in FOLLOWING and any(
            number in self.last for number in call.reads if number not in self.program.fixed
        )

    def _change(self, call: Call) -> None:
        """Add a call with images in channels_last, and a second number for those that it writes."""
        arguments = [
            Value(self._channels_last(each.number, like, need, call.layer))
            if isinstance(each, Value) and like is not None and _is_image(like)
            else each
            for each, like, need in zip(call.arguments, call.read, call.needed, strict=True)
        ]
        outputs = tuple(self._output(call, place) for place in range(len(call.outputs)))
        numbers = dict(zip(call.outputs, outputs, strict=True))
        returned_by = [
            (layer, last) for layer, number in call.returned_by if (last := numbers[number])
        ]
        changed = replace(
            call, arguments=tuple(arguments), outputs=outputs, returned_by=returned_by
        )
        self.relaid.append((call, changed))
        self.entries.append(changed)

    def _output(self, call: Call, place: int) -> int | None:
        """Return the number of an output of a call: of an image a new one."""
        number, like = call.outputs[place], call.likes[place]
        if number is None or like is None or not _is_image(like):
            return number
        is_differentiable = place not in call.operation.traits.non_differentiable
        self.pending[number] = (like, any(call.needed) and is_differentiable)
        return self._new_number(number)

    def _channels_last(self, number: int, like: Like, need: bool, layer: str) -> int:
        """Return the number of a value with the channels last, copied if it is not there."""
        if number not in self.last:
            given = Value(number)
            copy = _copy(given, self._new_number(number), like, need, torch.channels_last, layer)
            self.entries.append(copy)
        return self.last[number]

    def _as_recorded(self, number: int, layer: str) -> None:
        """Copy a value into the layout that was recorded, if it is not there."""
        if number in self.pending:
            given, (like, need) = Value(self.last[number]), self.pending.pop(number)
            self.entries.append(_copy(given, number, like, need, torch.contiguous_format, layer))

    def _new_number(self, number: int) -> int:
        self.last[number] = self.values
        self.values += 1
        return self.last[number]

    def _forget_copies(self, entry: Entry) -> None:
        """Forget the copies of values that an entry may change, itself or through a view."""
        if entry.changes is not None:
            self.last = {n: last for n, last in self.last.items() if n in self.pending}


def _copy(
    given: Value, number: int, like: Like, need: bool, to: torch.memory_format, layer: str
) -> Function:
    """Return the entry that writes a value in another layout, if it is not in it already."""
    back = torch.contiguous_format if to == torch.channels_last else torch.channels_last
    rule = Rule(TO, _options(like, back)) if need else None
    return Function(TO, (given, *_options(like, to)), {}, (number,), rule, (like,), layer=layer)


def _options(like: Like, layout: torch.memory_format) -> tuple[Any, ...]:
    return like.dtype, False, False, layout


def _is_image(like: Like | None) -> bool:
    return like is not None and len(like.shape) == 4
