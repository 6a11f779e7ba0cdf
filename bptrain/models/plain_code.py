"""A model as plain torch: as a module, and as the text of a Python file that imports only torch."""

import inspect
from collections.abc import Iterable, Mapping

from torch import nn

from bptrain.errors import UsageError
from bptrain.models import (
    assembly,
    attention_block,
    attention_network,
    cnn,
    mlp,
    plain,
    plain_transformer,
    recurrent,
    resnet,
    sequential,
)
from bptrain.nn.convert import torch_copy
from bptrain.nn.counterparts import (
    TorchAdd,
    TorchConcat,
    TorchDotProductAttention,
    TorchRotary,
)

PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    mlp.MLP: plain.MLP,
    cnn.CNN: nn.Sequential,
    cnn.SequenceCNN: plain.TimeLast,
    sequential.TimeLast: plain.TimeLast,
    resnet.Block: plain.Block,
    assembly.Residual: plain.Residual,
    assembly.Branches: plain.Branches,
    recurrent.OutputOnce: plain.OutputOnce,
    recurrent.OutputEachStep: plain.OutputEachStep,
    recurrent.LanguageModel: plain.LanguageModel,
    attention_block.SelfAttention: plain_transformer.SelfAttention,
    attention_block.TransformerBlock: plain_transformer.TransformerBlock,
    attention_network.TransformerOnce: plain_transformer.TransformerOnce,
    attention_network.TransformerEachStep: plain_transformer.TransformerEachStep,
    attention_network.TransformerLanguageModel: plain_transformer.TransformerLanguageModel,
    TorchAdd: plain.Add,
    TorchDotProductAttention: plain_transformer.DotProductAttention,
    TorchRotary: plain_transformer.Rotary,
}
SOURCES = (plain, plain_transformer)
TRANSFORMER_PARTS = (
    plain_transformer.Transformer,
    plain_transformer.TransformerBlock,
    plain_transformer.SelfAttention,
)
ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
NOT_WRITTEN = {"device", "dtype"}
RECURRENT = ("input_size", "hidden_size", "num_layers")
RECURRENT_OPTIONS = {"bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
INDENT = "    "

HEADER = '''"""{title}

Written by `bptrain export`; it needs torch alone. Load the weights that were written beside it:

    model = build()
    model.load_state_dict(torch.load("model.pt", weights_only=True))
    model.eval()

or, of a .safetensors file, model.load_state_dict(safetensors.torch.load_file("model.safetensors")).
"""
'''
IMPORTS = {  # by what needs them; all of them stand where it is found
    "OrderedDict(": "from collections import OrderedDict\n\n",
    "torch.": "import torch\n",
    "Tensor": "from torch import Tensor, nn\n",
    "pack_padded_sequence(": (
        "from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence\n"
    ),
    "scaled_dot_product_attention(": (
        "from torch.nn.functional import scaled_dot_product_attention\n"
    ),
}
ONLY_LAYERS = "from torch import nn\n"  # where no class names a Tensor


def plain_model(model: nn.Module) -> nn.Module:
    """Return a copy of a model that consists of torch.nn's layers and `plain`'s classes."""
    copy = torch_copy(model)
    for module in list(copy.modules()):
        if isinstance(module, assembly.Branches):
            concat = module.concat
            assert isinstance(concat, TorchConcat)
            module.dim = concat.dim  # type: ignore[assignment]
        if type(module) in PLAIN:
            module.__class__ = PLAIN[type(module)]
    return copy


def plain_code(model: nn.Module, title: str) -> str:
    """Return the file whose `build()` makes a model that `plain_model` returned."""
    used = {kind for module in model.modules() for kind in type(module).__mro__}
    sources = [
        inspect.getsource(kind)
        for file in SOURCES
        for kind in vars(file).values()
        if inspect.isclass(kind) and kind in used and kind.__module__ == file.__name__
    ]
    build = (
        "def build() -> nn.Module:\n"
        '    """Return the model, its weights still to be loaded."""\n'
        f"    return {_expression(model, 1)}\n"
    )
    body = "\n\n".join([*sources, build])
    imports = "".join(line for needed, line in IMPORTS.items() if needed in body)
    if "Tensor" not in body:
        imports += ONLY_LAYERS
    return f"{HEADER.format(title=title)}\n{imports}\n\n{body}"


def _expression(module: nn.Module | None, depth: int) -> str:
    """Return the Python expression that constructs a module."""
    children = {} if module is None else dict(module.named_children())
    match module:
        case None:
            return "None"
        case plain.Block():
            branch = {name: children[name] for name in module.branch}
            rest = [_expression(each, depth + 1) for each in (module.downsample, module.relu)]
            return _call("Block", [_dict(branch, depth + 1), *rest], depth)
        case plain.Residual():
            parts = [_expression(each, depth + 1) for each in (module.branch, module.projection)]
            return _call("Residual", parts, depth)
        case plain.Branches():
            branches = [_expression(each, depth + 2) for each in module.branches]
            return _call("Branches", [_call("", branches, depth + 1, "[]"), str(module.dim)], depth)
        case plain.RecurrentNetwork():
            return _call(type(module).__name__, _recurrent(module, children, depth), depth)
        case plain_transformer.DotProductAttention():
            return f"DotProductAttention(is_causal={module.is_causal})"
        case _ if isinstance(module, TRANSFORMER_PARTS):
            return _call(type(module).__name__, _transformer(module, children, depth), depth)
        case nn.Sequential():
            return _sequential(module, children, depth)
    if type(module).__module__ in [file.__name__ for file in SOURCES]:
        return f"{type(module).__name__}()"
    return f"nn.{type(module).__name__}({', '.join(_arguments(module))})"


def _recurrent(
    module: plain.RecurrentNetwork, children: Mapping[str, nn.Module], depth: int
) -> list[str]:
    """Return the arguments of a recurrent network."""
    layers = _dict(children, depth + 1)
    if isinstance(module, plain.OutputOnce):
        return [layers, f"pool={module.pool!r}"]
    if isinstance(module, plain.LanguageModel):
        return [layers, f"tied={module.output.weight is module.embedding.weight}"]
    return [layers]


def _transformer(module: nn.Module, children: Mapping[str, nn.Module], depth: int) -> list[str]:
    """Return the arguments of a transformer or of one of its parts; sums are written as `+`."""
    layers = {name: each for name, each in children.items() if type(each) is not plain.Add}
    written = [_dict(layers, depth + 1)]
    if isinstance(module, plain_transformer.SelfAttention):
        written.append(f"heads={module.heads}")
    if isinstance(module, plain_transformer.Transformer):
        written += [f"positions={module.positions!r}", f"context={module.context}"]
    if isinstance(module, plain_transformer.TransformerLanguageModel):
        written.append(f"tied={module.output.weight is module.embedding.weight}")
    return written


def _sequential(module: nn.Module, children: Mapping[str, nn.Module], depth: int) -> str:
    """Return the construction of layers in order, by their names where they have any."""
    name = "nn.Sequential" if type(module) is nn.Sequential else type(module).__name__
    if list(children) == [str(number) for number in range(len(children))]:
        return _call(name, [_expression(each, depth + 1) for each in children.values()], depth)
    return f"{name}(OrderedDict({_dict(children, depth)}))"


def _dict(children: Mapping[str, nn.Module], depth: int) -> str:
    entries = [f'"{name}": {_expression(each, depth + 1)}' for name, each in children.items()]
    return _call("", entries, depth, "{}")


def _call(name: str, parts: Iterable[str], depth: int, brackets: str = "()") -> str:
    """Return a call, or a list or dict, with a line for each of its parts."""
    lines = "".join(f"{INDENT * (depth + 1)}{part},\n" for part in parts)
    return f"{name}{brackets[0]}\n{lines}{INDENT * depth}{brackets[1]}"


def _arguments(layer: nn.Module) -> list[str]:
    """Return the arguments that construct a layer of torch.nn, those with a default by name."""
    if isinstance(layer, nn.RNNBase):
        given = [str(getattr(layer, name)) for name in RECURRENT]
        options = {name: getattr(layer, name) for name in RECURRENT_OPTIONS}
        changed = {n: v for n, v in options.items() if v != RECURRENT_OPTIONS[n]}
        return [*given, *(f"{name}={value!r}" for name, value in changed.items())]
    written = []
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        if name in NOT_WRITTEN or name.startswith("_") or parameter.kind in ANY_NUMBER:
            continue
        is_required = parameter.default is parameter.empty
        if is_required and not hasattr(layer, name):
            raise UsageError(f"{type(layer).__name__} cannot be written as code: no {name}")
        value = getattr(layer, name, parameter.default)
        if name == "bias":
            value = value is not None
        if is_required:
            written.append(repr(value))
        elif value != parameter.default:
            written.append(f"{name}={value!r}")
    return written
