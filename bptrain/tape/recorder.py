"""Records a forward pass: each call of an operation, and each function of tensors between them.

The pass runs without autograd. What would make the record incomplete is noticed: a tensor of
unknown origin, a function on the way of the gradient that has no rule. A number that is read out of
a tensor may decide what the model does next: such a record holds for one batch only.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from bptrain.ops.in_place import written_into
from bptrain.ops.kernels import chosen_kernels
from bptrain.ops.operation import Operation
from bptrain.ops.packed_rows import PackedRows, rows_of_lengths
from bptrain.ops.recording import recorded_by
from bptrain.tape.calls import Call, Entry, Function, Like, Value, flat
from bptrain.tape.layers import Layers
from bptrain.tape.packings import Packing
from bptrain.tape.rules import READS_NUMBERS, WITHOUT_GRADIENT, rule_of
from bptrain.tape.torch_functions import operation_of

READING_METHODS = {  # of which no function of tensors is seen
    Tensor.tolist,
    Tensor.numpy,
    Tensor.__array__,
    Tensor.data_ptr,
    Tensor.untyped_storage,
}
READS_SHAPE = {
    Tensor.shape.__get__,  # type: ignore[attr-defined]
    Tensor.size,
    Tensor.__len__,
    Tensor.numel,
    Tensor.nelement,
    torch.numel,
}
OWN = f"{__name__.partition('.')[0]}."
IN_ANY_LAYOUT = dict.fromkeys(  # a fused operation may lay out its output otherwise than its parts
    (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default),
    torch.ops.aten.reshape.default,
)


class OffTapeError(Exception):
    """Why a model cannot be recorded."""


class Recorder(TorchDispatchMode):
    """Records what runs inside `listening`.

    entries          what was called, in order
    saved            what each entry kept for its backward pass
    likes            of each value, by number
    needed           whether the gradient by each value is needed
    reads_numbers    whether a number was read out of a tensor
    packings         what was made of the lengths of sequences
    shapes_read      the numbers of tensors whose shape was read by code that is not bptrain's
    counted          the memory that does not count as kept by a later entry
    """

    def __init__(
        self, is_autocast: bool, names: dict[nn.Module, str], keeps_saved: bool = True
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_autocast, self.keeps_saved = is_autocast, keeps_saved
        self.counted: set[StorageWeakRef] = set()
        self.layers = Layers(names, self._note_returned)
        self.entries: list[Entry] = []
        self.saved: list[Any] = []
        self.likes: list[Like] = []
        self.needed: list[bool] = []
        self.constants: dict[int, Tensor] = {}
        self.reads_numbers = False
        self.packings: list[Packing] = []
        self.shapes_read: set[Any] = set()
        self._numbers = WeakTensorKeyDictionary()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch not to import its compiler, a second's work, to keep it away from here."""
        return False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record what runs inside the block."""
        with torch.no_grad(), recorded_by(self), self.layers.noted(), _Functions(self), self:
            yield

    def know(self, tensor: Tensor, needed: bool = False) -> int:
        """Give a tensor a number, unless it has one; return it."""
        number = self._numbers.get(tensor)
        if number is None:
            number = len(self.likes)
            self._numbers[tensor] = number
            self.likes.append(Like.of(tensor))
            self.needed.append(needed and tensor.is_floating_point())
        return int(number)

    def number_of(self, tensor: Tensor) -> int:
        """Return a tensor's number, or raise OffTapeError if its origin is unknown."""
        number = self._numbers.get(tensor)
        if number is None:
            raise OffTapeError(
                f"a tensor {list(tensor.shape)} is read that is neither an input, a parameter, a "
                "buffer nor computed from them"
            )
        return int(number)

    def has_gradient(self, values: Any) -> bool:
        """Return whether the gradient by any tensor among the values is needed."""
        numbers = (
            self._numbers.get(each) for each in tree_leaves(values) if isinstance(each, Tensor)
        )
        return any(number is not None and self.needed[number] for number in numbers)

    def call(
        self, operation: Operation[Any], inputs: tuple[Any, ...], in_place: bool = False
    ) -> Any:
        """Carry out and record a call of an operation."""
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            arguments = tuple(self._argument(each) for each in inputs)
            needed = tuple(self._needs(each) for each in arguments)
            passes = operation.passes(chosen_kernels())
            before = None if self.keeps_saved else random_state()
            outputs, saved = operation.compute(passes, inputs, needed, self.is_autocast)
            results = outputs if isinstance(outputs, tuple) else (outputs,)
            numbers = tuple(
                None
                if each is None
                else self._new(
                    each, any(needed) and place not in operation.traits.non_differentiable
                )
                for place, each in enumerate(results)
            )
            likes = tuple(None if each is None else Like.of(each) for each in results)
            read = tuple(Like.of(each) if isinstance(each, Tensor) else None for each in inputs)
            self.entries.append(
                Call(
                    operation,
                    passes,
                    arguments,
                    numbers,
                    needed,
                    read,
                    likes,
                    self.is_autocast,
                    isinstance(outputs, tuple),
                    new_bytes(saved, self.counted) if any(needed) else 0,
                    before is not None and not all(map(torch.equal, before, random_state())),
                    self.layers.current,
                )
            )
            if in_place:
                outputs, saved = written_into(inputs[0], outputs, saved)
                self._numbers[outputs] = numbers[0]  # x from now on is the value that y was
            self.saved.append(saved if any(needed) and self.keeps_saved else None)
            return outputs

    def pack(self, lengths: Tensor, steps: int, device: torch.device) -> PackedRows:
        """Return the places of packed rows: constants that another batch's lengths make others."""
        number = self._numbers.get(lengths)
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            found = rows_of_lengths(lengths, steps, device)
            sizes = tuple(found.batch_sizes.tolist())
        self.constants |= {self.know(each): each for each in found}
        if number is None or lengths.device.type != "cpu":
            self.reads_numbers = True
        else:
            numbers = tuple(map(self.know, found))
            self.packings.append(Packing(int(number), steps, device, numbers, sizes))
        return found

    def sizes(self, batch_sizes: Tensor) -> tuple[int, ...]:
        """Return how many sequences each time step has: of a packing its own tuple."""
        number = self._numbers.get(batch_sizes)
        for each in self.packings:
            if each.numbers[0] == number:
                return each.sizes
        self.reads_numbers = True
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return tuple(batch_sizes.tolist())

    def holds_once(self, inputs: list[int]) -> bool:
        """Return whether the record is one of this batch alone, given its tensors' numbers."""
        is_computed = any(each.lengths not in inputs for each in self.packings)
        in_segments = bool(self.packings) and not self.keeps_saved  # which are made of a record
        return self.reads_numbers or is_computed or in_segments

    def note_shape(self, tensor: Tensor) -> None:
        """Note that the model's own code, not an operation, read a tensor's shape."""
        self.shapes_read.add(self._numbers.get(tensor))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out and record a function of tensors."""
        options = kwargs or {}
        if func in READS_NUMBERS:
            self.reads_numbers = True
            return func(*args, **options)
        if func is torch.ops.aten.lift_fresh.default:  # made from Python's numbers: a constant
            return self._constant(func(*args))
        arguments = tuple([self._numbered(each) for each in args])
        named = {name: self._numbered(each) for name, each in options.items()}
        is_needed = any(self._needs(each) for each in flat((arguments, named)))
        result = func(*args, **options)
        self._record(func, (args, options), (arguments, named), result, is_needed)
        return result

    def _record(
        self,
        func: Any,
        given: tuple[tuple[Any, ...], dict[str, Any]],
        names: tuple[tuple[Any, ...], dict[str, Any]],
        result: Any,
        is_needed: bool,
    ) -> None:
        is_tuple = isinstance(result, tuple | list)
        results = result if is_tuple else (result,)
        is_needed &= func not in WITHOUT_GRADIENT
        is_needed &= any(isinstance(each, Tensor) and each.is_floating_point() for each in results)
        rule = rule_of(func, *given) if is_needed else None
        if is_needed and rule is None:
            raise OffTapeError(f"{func} is not an operation of bptrain, and has a gradient")
        numbers = tuple(
            self._new(each, is_needed) if isinstance(each, Tensor) else None for each in results
        )
        likes = tuple(Like.of(each) if isinstance(each, Tensor) else None for each in results)
        function = IN_ANY_LAYOUT.get(func, func)
        self.entries.append(
            Function(function, *names, numbers, rule, likes, is_tuple, self.layers.current)
        )
        self.saved.append(None)

    def _note_returned(self, layer: str, output: Tensor) -> None:
        """Note with the entry that computed a value that a layer returned it."""
        number = self._numbers.get(output)
        computed = (each for each in reversed(self.entries) if number in each.outputs)
        for entry in computed if number is not None else ():
            entry.returned_by.append((layer, int(number)))
            return

    def _constant(self, tensor: Tensor) -> Tensor:
        self.constants[self.know(tensor)] = tensor
        return tensor

    def _new(self, tensor: Tensor, needed: bool) -> int:
        """Return the number of a result: a new one, or its own if it is an argument written to."""
        number = self._numbers.get(tensor)
        if number is not None and not needed:
            return int(number)
        self._numbers.pop(tensor, None)
        return self.know(tensor, needed)

    def _argument(self, given: Any) -> Any:
        if isinstance(given, Tensor):
            return Value(self.number_of(given))
        if any(isinstance(each, Tensor) for each in flat((given,))):
            raise OffTapeError("an operation is given tensors within a list")
        return given

    def _numbered(self, given: Any) -> Any:
        """Return an argument of a function with `Value` in the place of each tensor."""
        if isinstance(given, Tensor):
            return Value(self.number_of(given))
        if type(given) in (list, tuple):
            return type(given)(self._numbered(each) for each in given)
        return given

    def _needs(self, argument: Any) -> bool:
        return isinstance(argument, Value) and self.needed[argument.number]


def random_state() -> list[Tensor]:
    """Return the states of torch's random generators."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if on_gpu else [])]


def new_bytes(saved: Any, seen: set[StorageWeakRef]) -> int:
    """Return the bytes of tensors in Saved that nothing before keeps; add them to `seen`.

    A reference, not an address, tells memory apart: what is released may be given out again.
    """
    total = 0
    for each in flat((saved,)):
        if isinstance(each, Tensor):
            storage = each.untyped_storage()
            reference = StorageWeakRef(storage)
            total += storage.nbytes() if reference not in seen else 0
            seen.add(reference)
    return total


class _Functions(TorchFunctionMode):
    """Takes operations in place of torch's functions, and notices methods that read numbers."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        if func in READING_METHODS:
            self.recorder.reads_numbers = True
        if func in READS_SHAPE and not sys._getframe(1).f_globals["__name__"].startswith(OWN):
            self.recorder.note_shape(args[0])
        operation = operation_of(func, args, options)
        if operation is None or not self.recorder.has_gradient((args, options)):
            return func(*args, **options)
        try:
            return operation()
        except (NotImplementedError, TypeError, ValueError) as error:
            raise OffTapeError(
                f"{func.__name__} is called as no operation of bptrain: {error}"
            ) from error
