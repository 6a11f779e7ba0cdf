"""What each layer saves for its backward pass, ours beside torch.nn's, at a usual size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bptrain import nn
from bptrain.models.summary import SavedBytes
from bptrain.nn.counterparts import torch_class

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A layer at a usual size: its class, its options, the inputs of a training step.

    A shape stands for normally distributed numbers that need a gradient, as inside a network; a
    function makes any other input, which needs one if it comes first.
    """

    name: str
    options: dict[str, Any]
    inputs: tuple[Shape | Callable[[], Any], ...]

    def call(self, kind: type[torch.nn.Module]) -> tuple[torch.nn.Module, list[Any]]:
        """Return a module of `kind` and its inputs, the same for ours and torch's."""
        torch.manual_seed(0)
        module = kind(**self.options)
        made = []
        for place, each in enumerate(self.inputs):
            drawn = torch.randn(each) if isinstance(each, tuple) else each()
            needs_grad = drawn.is_floating_point() and (place == 0 or isinstance(each, tuple))
            made.append(drawn.requires_grad_(needs_grad))
        return module, made

    def saved_bytes(self, kind: type[torch.nn.Module]) -> int:
        """Return the bytes that a forward pass saves, inputs included, parameters not."""
        module, inputs = self.call(kind)
        with SavedBytes(module) as saved:
            output = module(*inputs)
            counted = saved.take()
        del output
        return counted

    @property
    def ours(self) -> type[torch.nn.Module]:
        """Our class."""
        found: type[torch.nn.Module] = getattr(nn, self.name)
        return found

    @property
    def torchs(self) -> type[torch.nn.Module]:
        """torch.nn's class, or what it has instead."""
        return torch_class(self.ours)

    @property
    def arguments(self) -> str:
        """The constructor's arguments, as they are typed."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())

    @property
    def size(self) -> str:
        """The shape of the first input, as text."""
        first = self.inputs[0]
        shape = first if isinstance(first, tuple) else tuple(first().shape)
        return " x ".join(map(str, shape))


def _classes(*shape: int, below: int = 10) -> Callable[[], Tensor]:
    return lambda: torch.randint(below, shape)


def _normal(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape)


def _share(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.rand(shape)


def _signs(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(2, shape) * 2.0 - 1


def _logs(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape).log_softmax(-1)


def _full(count: int, value: int) -> Callable[[], Tensor]:
    return lambda: torch.full((count,), value)


MAP, FEATURES, ROWS = (32, 64, 28, 28), (128, 512), (32, 64, 784)
STEPS, TOKENS, HEADS = (64, 32, 128), (32, 64, 128), (32, 4, 64, 32)
VALUE_LOSSES = ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
ELEMENTWISE = (
    "ReLU", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Softplus",
    "Softsign", "Hardtanh", "ReLU6", "Hardsigmoid", "Hardswish", "Tanh", "Sigmoid", "LogSigmoid",
)  # fmt: skip
LAYERS = (
    Layer("Linear", {"in_features": 512, "out_features": 512}, (FEATURES,)),
    Layer(
        "Bilinear",
        {"in1_features": 64, "in2_features": 64, "out_features": 64},
        ((128, 64), (128, 64)),
    ),
    Layer("Conv1d", {"in_channels": 64, "out_channels": 64, "kernel_size": 3}, (ROWS,)),
    Layer("Conv2d", {"in_channels": 64, "out_channels": 64, "kernel_size": 3}, (MAP,)),
    Layer("Conv3d", {"in_channels": 8, "out_channels": 8, "kernel_size": 3}, ((8, 8, 16, 16, 16),)),
    Layer("ConvTranspose1d", {"in_channels": 64, "out_channels": 64, "kernel_size": 3}, (ROWS,)),
    Layer("ConvTranspose2d", {"in_channels": 64, "out_channels": 64, "kernel_size": 3}, (MAP,)),
    Layer("MaxPool1d", {"kernel_size": 2}, (ROWS,)),
    Layer("MaxPool2d", {"kernel_size": 2}, (MAP,)),
    Layer("AvgPool1d", {"kernel_size": 2}, (ROWS,)),
    Layer("AvgPool2d", {"kernel_size": 2}, (MAP,)),
    Layer("AdaptiveAvgPool1d", {"output_size": 1}, (ROWS,)),
    Layer("AdaptiveAvgPool2d", {"output_size": 1}, (MAP,)),
    Layer("AdaptiveMaxPool2d", {"output_size": 7}, (MAP,)),
    Layer("ZeroPad2d", {"padding": 1}, (MAP,)),
    Layer("Upsample", {"scale_factor": 2}, (MAP,)),
    Layer("Upsample", {"scale_factor": 2, "mode": "bilinear"}, (MAP,)),
    Layer("PixelShuffle", {"upscale_factor": 2}, (MAP,)),
    Layer("Flatten", {}, (MAP,)),
    Layer("Unflatten", {"dim": 1, "unflattened_size": (8, 8)}, (MAP,)),
    Layer("Add", {}, (MAP, MAP)),
    Layer("Multiply", {}, (MAP, MAP)),
    Layer("Mean", {"dim": (2, 3)}, (MAP,)),
    Layer("Concat", {}, (MAP, MAP)),
    Layer("BatchNorm1d", {"num_features": 512}, (FEATURES,)),
    Layer("BatchNorm2d", {"num_features": 64}, (MAP,)),
    Layer("BatchNorm3d", {"num_features": 8}, ((8, 8, 16, 16, 16),)),
    Layer("LayerNorm", {"normalized_shape": 512}, (FEATURES,)),
    Layer("GroupNorm", {"num_groups": 8, "num_channels": 64}, (MAP,)),
    Layer("InstanceNorm1d", {"num_features": 64}, (ROWS,)),
    Layer("InstanceNorm2d", {"num_features": 64}, (MAP,)),
    Layer("InstanceNorm3d", {"num_features": 8}, ((8, 8, 16, 16, 16),)),
    Layer("RMSNorm", {"normalized_shape": 512}, (FEATURES,)),
    Layer("LocalResponseNorm", {"size": 5}, (MAP,)),
    Layer("Dropout", {}, (FEATURES,)),
    Layer("Dropout1d", {}, (ROWS,)),
    Layer("Dropout2d", {}, (MAP,)),
    Layer("AlphaDropout", {}, (FEATURES,)),
    *(Layer(name, {}, (FEATURES,)) for name in ELEMENTWISE),
    Layer("GLU", {}, (FEATURES,)),
    Layer("Softmax", {"dim": 1}, (FEATURES,)),
    Layer("LogSoftmax", {"dim": 1}, (FEATURES,)),
    Layer("Embedding", {"num_embeddings": 1000, "embedding_dim": 128}, (_classes(64, 32),)),
    Layer("RNN", {"input_size": 128, "hidden_size": 128}, (STEPS,)),
    Layer("LSTM", {"input_size": 128, "hidden_size": 128}, (STEPS,)),
    Layer("GRU", {"input_size": 128, "hidden_size": 128}, (STEPS,)),
    Layer("RNNCell", {"input_size": 128, "hidden_size": 128}, ((64, 128), (64, 128))),
    Layer("LSTMCell", {"input_size": 128, "hidden_size": 128}, ((64, 128),)),
    Layer("GRUCell", {"input_size": 128, "hidden_size": 128}, ((64, 128), (64, 128))),
    Layer(
        "MultiheadAttention",
        {"embed_dim": 128, "num_heads": 4, "batch_first": True},
        (TOKENS, TOKENS, TOKENS),
    ),
    Layer("DotProductAttention", {"is_causal": True}, (HEADS, HEADS, HEADS)),
    Layer("Rotary", {}, (HEADS, _normal(64, 16), _normal(64, 16))),
    *(Layer(name, {}, (FEATURES, _normal(*FEATURES))) for name in VALUE_LOSSES),
    Layer("CrossEntropyLoss", {}, ((128, 10), _classes(128))),
    Layer("NLLLoss", {}, ((128, 10), _classes(128))),
    Layer("BCELoss", {}, (_share(*FEATURES), _share(*FEATURES))),
    Layer("BCEWithLogitsLoss", {}, (FEATURES, _share(*FEATURES))),
    Layer("KLDivLoss", {"reduction": "batchmean"}, (_logs(128, 10), _share(128, 10))),
    Layer("PoissonNLLLoss", {}, (FEATURES, _share(*FEATURES))),
    Layer("GaussianNLLLoss", {}, (FEATURES, _normal(*FEATURES), _share(*FEATURES))),
    Layer("HingeEmbeddingLoss", {}, (FEATURES, _signs(*FEATURES))),
    Layer("CosineEmbeddingLoss", {}, (FEATURES, FEATURES, _signs(128))),
    Layer("MarginRankingLoss", {}, (FEATURES, FEATURES, _signs(*FEATURES))),
    Layer("TripletMarginLoss", {}, (FEATURES, FEATURES, FEATURES)),
    Layer(
        "CTCLoss",
        {},
        (_logs(100, 16, 30), _classes(16, 20, below=29), _full(16, 100), _full(16, 20)),
    ),
)
