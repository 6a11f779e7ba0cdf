"""The graph of a training step for TensorBoard, from its record: what is computed from what.

A node is an operation, named `layer/operation`, or a tensor that the step begins with: `input`,
`target`, a parameter such as `linear1/weight`. TensorBoard folds the nodes of a layer into one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from torch import Tensor, nn

from bptrain.tape.calls import Call, Entry, Function
from bptrain.tape.program import Program

MOST_ENTRIES = 2000  # of a step that is drawn: a browser does not lay out more


def graph_of(program: Program, model: nn.Module) -> GraphDef | None:
    """Return the graph of a recorded step, None of one that is too large to be looked at."""
    if len(program.entries) > MOST_ENTRIES:
        return None
    tensors = (*model.named_parameters(), *model.named_buffers())
    drawn = Drawing(program, {id(each): name for name, each in tensors})
    return GraphDef(node=drawn.nodes)


class Drawing:
    """The nodes of a program, in its order.

    names  of the tensors that are the same in every step, by their id
    """

    def __init__(self, program: Program, names: Mapping[int, str]) -> None:
        self.program, self.names = program, names
        self.nodes: list[NodeDef] = []
        self._uses: Counter[str] = Counter()  # of a name, which then gets a number
        self._sources: dict[int, str] = {}  # the node, and its output, that a value comes from
        for place, entry in enumerate(program.entries):
            self._add(entry, is_of_loss=place >= program.boundary)

    def _add(self, entry: Entry, is_of_loss: bool) -> None:
        read = [self._source(number, is_of_loss) for number in dict.fromkeys(entry.reads)]
        layer = entry.layer or "loss" * is_of_loss
        operation = operation_of(entry)
        shapes = [like.shape for like in entry.likes if like is not None]
        name = self._new_node(f"{layer}.{operation}".lstrip("."), operation, shapes, read)
        for place, number in enumerate(entry.outputs):
            if number is not None:
                self._sources[number] = f"{name}:{place}" if place else name

    def _source(self, number: int, is_of_loss: bool) -> str:
        """Return where a value comes from; one that the step begins with becomes a node."""
        if number not in self._sources:
            fixed = self.program.fixed.get(number)
            if isinstance(fixed, Tensor):
                name, kind = self.names.get(id(fixed), "constant"), type(fixed).__name__
            elif number in self.program.inputs:
                name, kind = "target" if is_of_loss else "input", "Input"
            else:
                name, kind = "state", "State"
            shapes = [] if fixed is None else [fixed.shape]
            self._sources[number] = self._new_node(name, kind, shapes, [])
        return self._sources[number]

    def _new_node(
        self, name: str, kind: str, shapes: Sequence[Sequence[int]], read: Sequence[str]
    ) -> str:
        """Add a node and return its name, in which slashes part the layers."""
        name = name.replace(".", "/")
        self._uses[name] += 1
        if self._uses[name] > 1:
            name = f"{name}_{self._uses[name]}"
        self.nodes.append(NodeDef(name=name, op=kind, input=read, attr=attributes(shapes)))
        return name


def operation_of(entry: Entry) -> str:
    """Return the name of what an entry computes."""
    if isinstance(entry, Call):
        return entry.operation.name
    assert isinstance(entry, Function), "a recorded program holds calls and functions"
    return str(getattr(entry.function, "__name__", entry.function)).partition(".")[0]


def attributes(shapes: Sequence[Sequence[int]]) -> dict[str, AttrValue]:
    """Return the shapes of a node's outputs as TensorBoard reads them."""
    known = [
        TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
        for shape in shapes
    ]
    return {"_output_shapes": AttrValue(list=AttrValue.ListValue(shape=known))} if known else {}
