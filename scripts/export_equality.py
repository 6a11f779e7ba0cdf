"""Export a model of each family in every format, and compare the outputs.

python scripts/export_equality.py

Prints the table of docs/export.md: the largest difference of an output from our model's, at its
initial weights, over batches of 1, 4 and 17 samples; sequences have other lengths than the example
that the graph was made with. It needs the packages of the extra `dev`.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime
import torch
from safetensors.torch import load
from torch import Tensor, nn

from bptrain.bench.paired import machine
from bptrain.config import load_config
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.exporting import as_exported_program, as_onnx, as_safetensors, as_state_dict
from bptrain.models.plain_code import plain_model
from bptrain.problem import Problem

CONFIGS = Path(__file__).parent.parent / "configs"
DIGITS = Problem("classification", (1, 8, 8), 10)
TEXTS = Problem("classification", (40,), 2, vocabulary=50, is_sequence=True, varies=True)
PHOTOS = Problem("classification", (3, 64, 64), 6)
PLAY = Problem("language_model", (128,), 65, vocabulary=65, is_sequence=True)
MODELS = {
    "MLP": ("digits_mlp.yaml", [], DIGITS),
    "CNN": ("digits_cnn.yaml", [], DIGITS),
    "bidirectional LSTM": ("text_table_lstm.yaml", [], TEXTS),
    "bidirectional GRU": ("text_table_lstm.yaml", ["model.cell=gru"], TEXTS),
    "language model, LSTM": ("shakespeare_lstm.yaml", [], PLAY),
    "language model, transformer": ("shakespeare_transformer.yaml", [], PLAY),
    "transformer, images": ("digits_transformer.yaml", [], DIGITS),
    "transformer, texts": ("text_table_lstm.yaml", ["model={kind: transformer, width: 64}"], TEXTS),
    "ResNet-18": ("image_folder_pretrained.yaml", ["model.weights=none"], PHOTOS),
}
BATCHES, LENGTHS = (1, 4, 17), (5, 11, 40)
Answers = Callable[..., Tensor]


def inputs_of(problem: Problem, samples: int, steps: int) -> tuple[Tensor, ...]:
    """Return a random batch, padded where sequences differ in length."""
    if not problem.vocabulary:
        return (torch.randn(samples, *problem.input_shape),)
    tokens = torch.randint(problem.vocabulary, (samples, steps))
    lengths = torch.randint(1, steps + 1, (samples,))
    return (tokens, lengths) if problem.varies else (tokens,)


def exports(model: nn.Module, problem: Problem) -> Iterator[tuple[str, Answers]]:
    """Yield each format, with what computes the outputs from its file."""
    for name, state in (
        (".safetensors", load(as_safetensors(plain_model(model), problem))),
        (".pt", torch.load(io.BytesIO(as_state_dict(plain_model(model), problem)))),
    ):
        plain = plain_model(model)
        for each in plain.parameters():
            each.data.zero_()
        plain.load_state_dict(state)
        yield name, plain
    graph = as_exported_program(plain_model(model), problem)
    yield ".pt2", torch.export.load(io.BytesIO(graph)).module()
    session = onnxruntime.InferenceSession(as_onnx(plain_model(model), problem))
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        named = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, named)[0])

    yield ".onnx", run


@torch.no_grad()
def differences(model: nn.Module, problem: Problem) -> dict[str, float]:
    """Return each format's largest difference."""
    batches = [inputs_of(problem, *sizes) for sizes in zip(BATCHES, LENGTHS, strict=True)]
    return {
        name: max(float((model(*each) - answers(*each)).abs().max()) for each in batches)
        for name, answers in exports(model, problem)
    }


def main() -> None:
    """Print the table."""
    print("| model | config | .safetensors | .pt | .pt2 | .onnx |\n|---|---|---|---|---|---|")
    for name, (file, words, problem) in MODELS.items():
        torch.manual_seed(0)
        config = load_config(ExperimentConfig, CONFIGS / file, words)
        model = config.model.build(problem, torch.device("cpu")).eval()
        found = " | ".join(f"{each:.1e}" for each in differences(model, problem).values())
        print(f"| {name} | {' '.join([file, *words])} | {found} |", flush=True)
    print(f"\n{machine()}, onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
