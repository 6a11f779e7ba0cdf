"""Small runs of every kind that get a NaN or an infinity, and everywhere that they can."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sounds
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bptrain.config import load_config
from bptrain.experiment.build import build
from bptrain.experiment.config import ExperimentConfig
from bptrain.experiment.plan import plan
from bptrain.train.loop import fit

LENGTH = """\
train: {steps: 20}
monitor: {log_every: 7}
checkpoint: {every_steps: 6, keep_last: 9}
"""
DIGITS = "data: {kind: digits, batch_size: 128}\n"
MLP = "model: {kind: mlp, hidden: [16, 16], normalization: batch, dropout: 0.1}\n"
SGD = "optimizer: {kind: sgd, lr: 0.1, momentum: 0.9}\n"
CONFIGS = {  # an epoch is from 6 to 12 steps
    "mlp": DIGITS + MLP + SGD,
    "cnn": DIGITS
    + "model: {kind: cnn, stages: [{channels: 4}, {channels: 8}], dropout: 0.1}\n"
    + "optimizer: {kind: adam, lr: 0.01}\n",
    "classifier": "data: {kind: text_table, path: FOLDER/texts.csv, batch_size: 16}\n"
    "model: {kind: rnn, cell: lstm, hidden: 8, layers: 2, dropout: 0.1}\n"
    "optimizer: {kind: rmsprop, lr: 0.01}\n",
    "language model": "data: {kind: text, path: FOLDER/text.txt, window: 8, batch_size: 8}\n"
    "model: {kind: rnn, cell: lstm, hidden: 8, embedding: 6}\n"
    "optimizer: {kind: adamw, lr: 0.01}\n",
    "regression": "data: {kind: table, path: FOLDER/table.csv, target: y, batch_size: 32}\n"
    "model: {kind: mlp, hidden: [16], activation: tanh, normalization: layer}\n"
    "optimizer: {kind: adagrad, lr: 0.01}\n",
    "speech": "data: {kind: audio_folder, path: FOLDER/sounds, seconds: null, batch_size: 8,\n"
    "  pattern: '{label}_{speaker}_{index}.wav', task: transcription, sample_rate: 8000,\n"
    "  spelling: {'0': ab, '1': ba, '2': aab}, features: {n_fft: 256, hop: 80, mels: 8}}\n"
    "model: {kind: rnn, cell: gru, hidden: 8, bidirectional: true}\n"
    "optimizer: {kind: adam, lr: 0.01}\n",
    "search": "data: {kind: digits, batch_size: 512}\n"
    "model: {kind: mlp, hidden: [8], activation: tanh}\n"
    "optimizer: {kind: lbfgs, iterations: 3}\n",
    "huge targets": "data: {kind: table, path: FOLDER/huge.csv, target: y, batch_size: 32}\n"
    "model: {kind: mlp, hidden: [16]}\n",
}
VARIANTS = {  # of the mlp: what is done to a gradient before the update
    "clipped by value, bf16": ["train.clip_grad_value=0.01", "precision=bf16"],
    "clipped by norm, accumulated": ["train.clip_grad_norm=1.0", "train.grad_accum_steps=2"],
    "clipped by layer, averaged": ["train.clip_grad_adaptive=0.1", "train.ema_decay=0.9"],
}


def write_data(folder: Path) -> None:
    """Write the texts and tables that the configs read."""
    text = "round and round the rugged rock the ragged rascal ran. "
    (folder / "text.txt").write_text(text * 14)
    of_three = {name: signal for name, signal in sounds.digits(24).items() if name[0] in "012"}
    sounds.write_folder(folder / "sounds", of_three)
    with (folder / "texts.csv").open("w", newline="") as file:
        rows = [
            ("the sun is out" if n % 2 else "rain and more rain again", n % 2) for n in range(150)
        ]
        csv.writer(file).writerows([("text", "label"), *rows])
    with (folder / "huge.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "y"), *((n, (-1.01) ** n * 1e30) for n in range(300))])
    with (folder / "table.csv").open("w", newline="") as file:
        rows = [(n % 7, n % 5, n % 7 - n % 5 / 2 + n % 3) for n in range(300)]
        csv.writer(file).writerows([("a", "b", "y"), *rows])


def write_config(folder: Path, kind: str) -> tuple[Path, list[str]]:
    """Write the config of a kind or a variant; return its path and its command-line overrides."""
    path = folder / "config.yaml"
    text = CONFIGS["mlp" if kind in VARIANTS else kind] + LENGTH
    path.write_text(text.replace("FOLDER", str(folder)))
    return path, VARIANTS.get(kind, [])


def places(config: Path, words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield every place of a run that can be poisoned, and its name.

    The places are those of the second step, when the optimizer's state and a carried one exist.
    """
    experiment = build(plan(load_config(ExperimentConfig, config, words)))
    model, update = experiment.model, experiment.update
    layers = {name: m for name, m in model.named_modules() if name and not any(m.children())}
    with_gradient: set[str] = set()
    for name, layer in layers.items():
        layer.register_forward_pre_hook(partial(note_gradient, with_gradient, name))
    steps = fit(experiment.engine, experiment.batches, update, 2)
    (first, *_), _ = next(steps).passes, next(steps)
    yield from (("forward", name) for name in layers)
    yield from (("backward", name) for name in layers if name in with_gradient)
    for name, parameter in model.named_parameters():
        yield "gradient", name
        yield "parameter", name
        held = update.optimizer.state[parameter].items()
        yield from (("optimizer", f"{k}:{name}") for k, each in held if isinstance(each, Tensor))
    buffers = dict(model.named_buffers()).items()
    yield from (("buffer", name) for name, each in buffers if each.is_floating_point())
    averages = {} if update.average is None else update.average.tensors()
    yield from (("average", name) for name, each in averages.items() if each.is_floating_point())
    yield from (("batch", "input") for each in first.batch.inputs[:1] if each.is_floating_point())
    yield from (("batch", "target") for each in first.batch.targets[:1] if each.is_floating_point())
    yield from (("carried", "") for _ in getattr(model, "carried", ()))


def note_gradient(found: set[str], name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Record the name of a layer whose input needs a gradient."""
    data = inputs[0].data if isinstance(inputs[0], PackedSequence) else inputs[0]
    if data.requires_grad:
        found.add(name)
